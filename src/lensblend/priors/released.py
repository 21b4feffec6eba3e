"""What the files of rendering networks' authors call their tensors, and how the order of some channels differs.

Names are facts of the code that the authors released, without the prefix ``module.`` of ``DataParallel``. DBSI's file
has MegaDepth's graph, see `lensblend.priors.depth`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lensblend.priors.published import Layout

# The numbers that DMSHN's layers have in its file, by their positions in ours; "" is a convolution, "layers" a block.
DMSHN_PARTS = {
    "encoder": dict(enumerate((1, 2, 3, 5, 6, 7, 9, 10, 11))),
    "decoder": dict(enumerate((13, 14, 16, 17, 18, 20, 21, 22, 24))),
}
DMSHN_CONVOLUTIONS = (1, 5, 9, 16, 20, 24)
SPADE_BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3")


def dmshn(networks: int) -> Layout:
    """Return the layout of one DMSHN, or of two in series (`saikatdutta/Stacked_DMSHN_bokeh`)."""
    names = {}
    for index in range(networks):
        net = "" if networks == 1 else f"net{index + 1}."
        for part, numbers in DMSHN_PARTS.items():
            for level in range(3):
                for position, number in numbers.items():
                    block = "" if number in DMSHN_CONVOLUTIONS else ".layers"
                    ours = f"hierarchies.{index}.{part}s.{level}.{position}{block}"
                    names[ours] = f"{net}{part}_lv{level + 1}.layer{number}"
    name = "dmshn" if networks == 1 else "stacked_dmshn"
    return Layout(f"the file of {name}'s authors", f"`baseline={name}` at its published width", names)


def bokehnets() -> Layout:
    """Return the layout of XMU-VIPLab's whole network (`ywj95/Example-based-Bokeh-Effect-Challenge`).

    In the file, too, and without effect are a fourth memory block, a fourth 1×1 convolution in each pyramid of
    dilations, and a linear head; the third memory block is used twice, and so a fourth of ours is like it.
    """
    parts = {"enter": "conv1", "merge": "conv4", "leave": "end_conv1.0", "head": "end_conv1.2"}
    for ours, theirs in {"halve": "conv2", "quarter": "conv3"}.items():
        parts |= {f"{ours}.0": f"{theirs}.0", f"{ours}.1.layers": f"{theirs}.1.body"}
    for ours, number in {"enlarge": 1, "enlarge_again": 2}.items():
        parts |= {f"{ours}.0": f"upconv{number}", f"{ours}.2.layers": f"upsamp{number}.1.body"}
    for index in range(4):
        parts |= {f"memory.transitions.{index}.{2 * i}": f"t{index + 1}.conv{i + 1}" for i in range(2)}
    for index in range(4):
        ours, theirs = f"memory.blocks.{index}.layers", f"lm{min(index, 2) + 1}.recursive_unit"
        parts |= {f"{ours}.{i}.layers": f"{theirs}.{i}.body" for i in (0, 1, 3, 4)} | {f"{ours}.5": f"{theirs}.5"}
        for stage in range(3):
            at = f"{ours}.2.stages.{stage}"
            parts |= {f"{at}.reduce": f"{theirs}.2.b0_{stage + 1}", f"{at}.fuse": f"{theirs}.2.b_{stage + 1}"}
            parts |= {f"{at}.dilated.{i}": f"{theirs}.2.conv{i + 1}_{stage + 1}.0" for i in range(4)}
    names = {f"fusion.{i}": f"fuse.{i}" for i in (0, 2, 8)}
    names |= {f"fusion.{i}.layers": f"fuse.{i}.body" for i in range(4, 8)}
    unused = []
    for ours, theirs in {"local": "model1", "global": "model2"}.items():
        for part, name in parts.items():
            names[f"{ours}_head" if part == "head" else f"{ours}_net.{part}"] = f"{theirs}.{name}"
        unused += [f"{theirs}.fc.", f"{theirs}.lm4.", *(f"{theirs}.lm{i}.recursive_unit.2.b_4." for i in (1, 2, 3))]
    network = "`baseline=xmu_viplab model.variant=released` at its published width"
    return Layout("the team's file of the whole network, not of one bokehNet", network, names, unused)


def dense_filter() -> Layout:
    """Return the layout of IPCV IITM's network (`kuldeeppurohit/DDDF-Bokeh-Effect-Rendering-ICCV2019`)."""
    names = {"stem.0": "conv0", "stem.1": "norm0", "context.reduce.0": "conv_refin", "context.finish": "refine3"}
    names |= {"predict.1": "conv_f1", "predict.3": "conv_f2"}
    names |= {f"context.averages.{i}.1": f"conv10{i + 1}0" for i in range(4)}
    names |= {"encoder.transition3.norm": "trans_block31", "encoder.transition3.conv": "trans_block33"}
    names |= {f"encoder.denseblock{i}": f"dense_block{i}" for i in (1, 2, 3)}
    names |= {f"encoder.transition{i}": f"trans_block{i}" for i in (1, 2)}
    decoders = {"up": "4", "image_decoder.to_half": "6", "image_decoder.to_full": "7"}
    decoders |= {"kernel_decoder.to_half": "62", "kernel_decoder.to_full": "72"}
    for ours, number in decoders.items():
        block = f"dense_block{number}"
        names |= {f"{ours}.0.layers.{i}.2": f"{block}.conv{i + 1}" for i in range(5)}
        names |= {f"{ours}.0.summarise.{3 * i + 2}": f"{block}.conv{i + 6}" for i in range(2)}
        names[f"{ours}.3"] = f"trans_block{number}.conv1"
    return Layout("the team's `model_latest.pt`", "`baseline=ipcv_iitm` at its published width and blocks", names)


def spade() -> Layout:
    """Return the layout of SLYYM's generator (`ruiliu-ai/BokehGAN`, which builds on `NVlabs/SPADE`)."""
    names = {"first": "fc", "last": "conv_img"}
    places = {
        "0": ("norms.0", "convolutions.0"),
        "1": ("norms.1", "convolutions.1"),
        "s": ("shortcut_norm", "shortcut"),
    }
    for index, block in enumerate(SPADE_BLOCKS):
        for place, (norm, convolution) in places.items():
            ours, theirs = f"blocks.{index}.{norm}", f"{block}.norm_{place}"
            names |= {f"{ours}.plain": f"{theirs}.param_free_norm", f"{ours}.hidden": f"{theirs}.mlp_shared.0"}
            names |= {f"{ours}.{part}": f"{theirs}.mlp_{part}" for part in ("gamma", "beta")}
            ours, theirs = f"blocks.{index}.{convolution}", f"{block}.conv_{place}"
            weight = f"{ours}.parametrizations.weight"
            names |= {f"{weight}.original": f"{theirs}.weight_orig", f"{ours}.bias": f"{theirs}.bias"}
            names |= {f"{weight}.0._{vector}": f"{theirs}.weight_{vector}" for vector in "uv"}
    return Layout("the team's `350_net_G.pth`", "`baseline=slyym model.norm=batch` at its published width", names)


def modern_densenet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename what torchvision published before ``norm.1`` of a dense layer became ``norm1``.

    Example:
        >>> list(modern_densenet({"features.denseblock1.denselayer2.norm.1.weight": torch.ones(1)}))
        ['features.denseblock1.denselayer2.norm1.weight']
    """
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name): t for name, t in tensors.items()}


def with_right_vectors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Complete a file of PyTorch 1.0, whose spectral norms keep divided weights in place of their right vectors.

    Example:
        >>> weight, left = torch.tensor([[[[3.0]]], [[[4.0]]]]), torch.tensor([0.6, 0.8])
        >>> old = {"conv.weight_orig": weight, "conv.weight": weight / 5, "conv.weight_u": left}
        >>> with_right_vectors(old)["conv.weight_v"]
        tensor([1.])
    """
    completed = dict(tensors)
    for name in tensors:
        part = name.removesuffix("_orig")
        if part == name or f"{part}_v" in tensors or not {part, f"{part}_u"} <= tensors.keys():
            continue
        whole, divided, left = tensors[name], tensors[part], tensors[f"{part}_u"]
        if whole.shape == divided.shape and left.shape == whole.shape[:1]:
            sigma = (whole * divided).sum() / divided.square().sum()
            right = whole.flatten(1).T @ left
            completed[f"{part}_v"] = right * sigma / right.square().sum()
            del completed[part]
    return completed


def rows_first(colours: int, side: int) -> Tensor:
    """Return where each channel of `torch.nn.functional.pixel_unshuffle` lies where all colours of a pixel come first.

    Args:
        colours: Channels of the image.
        side: Of the squares of pixels that become channels.

    Example:
        >>> rows_first(3, 2).tolist()
        [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    """
    return torch.arange(side**2 * colours).view(side**2, colours).T.flatten()
