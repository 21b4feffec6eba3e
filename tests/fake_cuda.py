"""A GPU that is not there: tensors that know that they are on `cuda:0` and hold no values, and what watches over them.

Nothing is computed, so it shows neither speed nor rounding, and the engine does not run backward without a driver; what
the backward would do is read from its graph.
"""

import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

import lensblend
from lensblend.ops import banded, constants, fourier

GPU = torch.device("cuda:0")
SOURCE = str(Path(lensblend.__file__).parent)
# Where the CPU waits until the GPU has computed a value, or the number of values.
WAITS = {"aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten._unique2", "aten.equal"}
WAITS |= {"aten.bincount", "aten.repeat_interleave.Tensor"}
# Indices may lie on the CPU, and a copy is there to come from it.
MIXED = {"aten.index", "aten.index_put", "aten.copy_"}
# What raises under `torch.use_deterministic_algorithms`, by its documentation. Bilinear and replicated borders are not
# in it: PyTorch puts sums in a fixed order in their place.
UNREPEATABLE = {"aten.max_unpool2d", "aten.max_unpool3d", "aten.nll_loss2d_forward", "aten.put_", "aten.histc"}
UNREPEATABLE |= {"aten.median", "aten.cumsum"}
UNREPEATABLE_GRADIENTS = {
    "AvgPool3D", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "AdaptiveMaxPool2D", "FractionalMaxPool2D",
    "FractionalMaxPool3D", "UpsampleLinear1D", "UpsampleBicubic2D", "UpsampleTrilinear3D", "UpsampleBilinear2DAa",
    "UpsampleBicubic2DAa", "ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D", "CtcLoss", "EmbeddingBag",
    "GridSampler2D", "GridSampler3D", "GridSampler2DCudnn",
}  # fmt: skip


class Watch(TorchDispatchMode):
    """Note, with the file of this project that asked for it, whatever a step on a GPU should not do.

    Attributes:
        copies: Copies between host and device that block.
        waits: Waits for the device.
        doubles: Images in double precision, which a GPU computes slowly.
        unrepeatable: What raises where deterministic algorithms are asked for.
    """

    def __init__(self):
        super().__init__()
        self.copies, self.waits, self.doubles, self.unrepeatable = [], [], [], []
        self.builds = False

    def note(self, notes, name):
        if not self.builds:
            notes.append(f"{name} in {asking_file()}")

    @contextmanager
    def building(self):
        """Pass over what is kept for the following steps."""
        before, self.builds = self.builds, True
        yield
        self.builds = before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.replace("::", ".")
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_gpu = any(tensor.device.type == "cuda" for tensor in given)
        if name in WAITS and on_gpu:
            self.note(self.waits, name)
        if name == "aten._local_scalar_dense":
            return False if given[0].dtype == torch.bool else 0.0 if given[0].dtype.is_floating_point else 1
        if name in UNREPEATABLE and on_gpu and (name != "aten.cumsum" or given[0].dtype.is_floating_point):
            self.note(self.unrepeatable, name)
        to = torch.device(kwargs.get("device") or "cpu")
        if name == "aten._to_copy" and to.type == "cuda" and not on_gpu:
            if not kwargs.get("non_blocking", False):
                self.note(self.copies, name)
            dtype = kwargs.get("dtype") or given[0].dtype
            return torch.empty_strided(given[0].size(), given[0].stride(), dtype=dtype, device=GPU)
        # PyTorch's own check of fakes passes over some operators, convolutions among them.
        stray = [list(tensor.shape) for tensor in given if tensor.device.type == "cpu" and tensor.ndim]
        if on_gpu and stray and name not in MIXED:
            raise RuntimeError(f"{name} in {asking_file()}: a tensor of shape {stray[0]} is on the CPU")
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if name == "aten._to_copy" and on_gpu and made[0].device.type == "cpu":
            self.note(self.copies, name)
        if any(t.device.type == "cuda" and t.dtype == torch.float64 and t.numel() > 64 for t in made):
            self.note(self.doubles, name)
        return result


def asking_file():
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(SOURCE):
        frame = frame.f_back
    return "PyTorch" if frame is None else frame.f_code.co_filename[len(SOURCE) + 1 :]


def unrepeatable_gradients(*results):
    """Name the operators behind results whose gradient on a GPU differs from run to run."""
    nodes, seen, found = [r.grad_fn for r in results if r.grad_fn is not None], set(), set()
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        name = node.name().rpartition("::")[2].partition("Backward")[0]
        found |= {name} & UNREPEATABLE_GRADIENTS
        nodes += [following for following, _ in node.next_functions if following is not None]
    return found


def moved(module):
    """Put on the fake GPU what ``module.to("cuda")`` moves: parameters, buffers, metrics' states, and nothing else."""

    def fake(tensor):
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=GPU)

    for part in module.modules():
        for key, parameter in part._parameters.items():
            if parameter is not None and parameter.device != GPU:
                part._parameters[key] = torch.nn.Parameter(fake(parameter), requires_grad=parameter.requires_grad)
        for key, buffer in part._buffers.items():
            if buffer is not None and buffer.device != GPU:
                part._buffers[key] = fake(buffer)
        if isinstance(part, Metric):
            for key in part._defaults:
                setattr(part, key, fake(getattr(part, key)))
            part._device = GPU
    return module


@contextmanager
def fake_gpu():
    """Give a GPU that holds no values, and what watches it; modules are built before, and `moved`."""
    answers = {"is_available": True, "is_bf16_supported": True, "device_count": 1, "current_device": 0}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        for name, answer in answers.items():
            patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(FakeTensorMode, "avoid_device_init", property(lambda self: True))
        watch = Watch()

        def kept(make):
            def made(*arguments):
                with watch.building():
                    return make(*arguments)

            return made

        to = torch.nn.Module.to

        def module_to(module, *arguments, **named):
            device = next((a for a in (*arguments, *named.values()) if isinstance(a, str | torch.device)), "cpu")
            return moved(module) if torch.device(device).type == "cuda" else to(module, *arguments, **named)

        patch.setattr(torch.nn.Module, "to", module_to)
        for module, name in ((banded, "_build_band"), (fourier, "_build_spectrum"), (constants, "_made")):
            patch.setattr(module, name, kept(getattr(module, name)))
        with (
            torch.backends.cudnn.flags(enabled=False),  # it would ask the device for its properties
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
            FakeTensorMode(allow_non_fake_inputs=True),
            watch,
        ):
            yield watch
