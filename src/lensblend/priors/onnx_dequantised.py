"""Convolutions of an 8-bit ONNX network in single precision, with the same weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lensblend.errors import RequestError

_LARGEST = 2**28  # bytes of a file: four times as many must stay below the 2 GiB of a graph
_MARK = b"ConvInteger"


def dequantised(path: Path) -> bytes | None:
    r"""Return a network whose convolutions take what is before them as it is, and not rounded to 256 levels.

    Dynamic quantisation stores weights in 8 bits and rounds the features of each photo anew, by one step for all
    channels. Masks may come out speckled, as IS-Net's do (`docs/priors.md`); with the same weights and unrounded
    features they do not, and on a CPU the convolutions are no slower.

    .. math:: s_x s_w \sum (q_x - z_x) (q_w - z_w) \;\to\; \sum x \, s_w (q_w - z_w)

    Args:
        path: The file.

    Returns:
        The graph; None where there is nothing to replace, or the file is larger than 256 MiB.

    Raises:
        RequestError: There is something to replace, but the package onnx is not installed.
    """
    if not path.is_file() or path.stat().st_size > _LARGEST or _MARK not in path.read_bytes():
        return None
    if find_spec("onnx") is None:
        raise RequestError(
            f"{path} is an 8-bit network, which needs the package onnx as well: install lensblend[onnx]."
        )
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's own; onnxruntime says what is wrong with the file
        return None
    return model.SerializeToString() if _replace(model.graph) else None


class _Links:
    """Which node makes a name, which take it, and which names are constants."""

    def __init__(self, graph: Any) -> None:
        self.makers = {name: node for node in graph.node for name in node.output}
        self.takers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)
        self.constants = {constant.name: constant for constant in graph.initializer}

    def only_taker(self, node: Any, kind: str) -> Any:
        """Return the one node that takes what a node makes, if it is of a kind."""
        takers = self.takers.get(node.output[0], [])
        return takers[0] if len(takers) == 1 and takers[0].op_type == kind else None

    def value(self, name: str) -> Any:
        """Return a constant's values as (outputs, 1, 1, 1), of weights as they are; None if it is none."""
        from onnx import numpy_helper

        constant = self.constants.get(name)
        if constant is None:
            return None
        values = numpy_helper.to_array(constant).astype("float32")
        return values if values.ndim > 1 else values.reshape(-1, 1, 1, 1)


def _replace(graph: Any) -> bool:
    """Replace the rounded convolutions of a graph, and tell whether there were any."""
    links = _Links(graph)
    put, gone, constants = {}, set(), []
    for node in graph.node:
        if node.op_type == "ConvInteger" and (match := _matched(node, links)):
            cast, product, weight = match
            name = f"{node.output[0]}_dequantised"
            put[product.output[0]] = _convolution(node, links, name, product.output[0])
            constants.append(_constant(name, weight))
            gone |= {node.output[0], cast.output[0]}
    nodes = [put.get(node.output[0], node) for node in graph.node if node.output[0] not in gone]
    taken = {name for node in nodes for name in node.input}
    # The product of two scales, then the rounding itself, where nothing takes them any more.
    for kind in ("Mul", "DynamicQuantizeLinear"):
        idle = [n for n in nodes if n.op_type == kind and not taken & set(n.output) and links.takers.get(n.output[0])]
        nodes = [node for node in nodes if node not in idle]
        taken = {name for node in nodes for name in node.input}
    kept = [constant for constant in (*graph.initializer, *constants) if constant.name in taken]
    for field, values in ((graph.node, nodes), (graph.initializer, kept)):
        del field[:]
        field.extend(values)
    return bool(put)


def _matched(node: Any, links: _Links) -> tuple[Any, Any, Any] | None:
    """Return the cast and the product that follow a rounded convolution, and its weights; None for any other."""
    rounding, cast = links.makers.get(node.input[0]), links.only_taker(node, "Cast")
    product = links.only_taker(cast, "Mul") if cast is not None else None
    if rounding is None or rounding.op_type != "DynamicQuantizeLinear" or product is None:
        return None
    scales = links.makers.get(next(name for name in product.input if name != cast.output[0]))
    if scales is None or scales.op_type != "Mul" or rounding.output[1] not in scales.input:
        return None
    step = links.value(next((name for name in scales.input if name != rounding.output[1]), ""))
    weight = links.value(node.input[1])
    zero = links.value(node.input[3]) if len(node.input) > 3 else 0
    return None if step is None or weight is None or zero is None else (cast, product, (weight - zero) * step)


def _convolution(node: Any, links: _Links, weight: str, output: str) -> Any:
    from onnx import helper

    new = helper.make_node("Conv", [links.makers[node.input[0]].input[0], weight], [output])
    new.attribute.extend(node.attribute)
    return new


def _constant(name: str, values: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(values, name)
