"""Tiny networks in ONNX files, whose outputs are known by arithmetic."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13  # what all exporters write at least


def write(path, nodes, outputs, shape=(1, 3, 32, 48), constants=(), kind=TensorProto.FLOAT):
    """Write a network with the input ``photo``; outputs are (name, shape)."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("photo", kind, shape)],
        [helper.make_tensor_value_info(name, kind, sides) for name, sides in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def brightness(path, shape=(1, 3, 32, 48), scale=1.0, offset=0.0, squeezed=False, kind=TensorProto.FLOAT):
    """Write the mean over channels, times ``scale``, plus ``offset``; and the photo itself as a second output."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("ReduceMean", ["photo"], ["mean"], axes=[1], keepdims=int(not squeezed)),
        helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["map"]),
        helper.make_node("Identity", ["photo"], ["same"]),
    ]
    constants = [("scale", np.array(scale, dtype)), ("offset", np.array(offset, dtype))]
    sides = [shape[0], *shape[2:]] if squeezed else [shape[0], 1, *shape[2:]]
    return write(path, nodes, [("map", sides), ("same", list(shape))], list(shape), constants, kind)


def rounded_convolution(path, weight, zero, step, shape):
    """Write a convolution as dynamic quantisation does: features rounded anew, weights in 8 bits."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["photo"], ["levels", "photo_step", "photo_zero"]),
        helper.make_node("ConvInteger", ["levels", "weight", "photo_zero", "zero"], ["sums"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["photo_step", "step"], ["steps"]),
        helper.make_node("Mul", ["floats", "steps"], ["map"]),
    ]
    constants = [("weight", weight), ("zero", zero), ("step", step)]
    return write(path, nodes, [("map", [1, 1, *shape[2:]])], list(shape), constants)
