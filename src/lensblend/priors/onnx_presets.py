"""What is publicly known of networks that are often exported to ONNX: what they take, and what their maps mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF: dict[str, Any] = {"mean": 0.5, "std": 0.5}


@dataclass(frozen=True)
class Preset:
    """One network's facts.

    Attributes:
        estimates: ``saliency`` or ``disparity``.
        facts: Arguments of `lensblend.inference.onnx_maps.OnnxMap`; the size counts where the graph leaves it open.
        marks: Beginnings of a file's name, letters and digits only, by which it is recognised.
        unlike: What such a name does not contain: other networks of the family.
    """

    estimates: str
    facts: dict[str, Any]
    marks: tuple[str, ...]
    unlike: tuple[str, ...] = ()


def _saliency(side: int, activation: str, **facts: Any) -> dict[str, Any]:
    return {"image_size": (side, side), "activation": activation, "holds": "saliency", **facts}


def _relative(*image_size: int, **facts: Any) -> dict[str, Any]:
    """Return the facts of a network of inverse depth up to a factor and an offset, which stretching takes out."""
    return {"image_size": image_size, "activation": "minmax", "holds": "disparity", **facts}


_METRIC = ("metric", "hypersim", "vkitti", "indoor", "outdoor")
PRESETS = {
    # The graphs of IS-Net and U²-Net end in a sigmoid. Their authors' scripts stretch each map as well, which makes
    # noise of a photo without a subject; `activation: minmax` does so. U²-Net's divides by the brightest value first.
    "isnet": Preset("saliency", _saliency(1024, "none", mean=0.5, std=1.0), ("isnet",)),
    "u2net": Preset("saliency", _saliency(320, "none", **IMAGENET), ("u2net",), ("cloth",)),
    # Most exports give logits; one with the sigmoid in its graph is noticed.
    "birefnet": Preset("saliency", _saliency(1024, "sigmoid", **IMAGENET), ("birefnet",), ("hr", "512")),
    # Multiples of 14, the shorter side 518; 518×770 is the nearest to 2:3.
    "depth_anything": Preset(
        "disparity", _relative(518, 770, **IMAGENET), ("depthanything",), (*_METRIC, "anything3", "v3")
    ),
    # The exporting script of MiDaS itself puts mean and deviation into the graph: such a file takes `mean: 0, std: 1`.
    "midas": Preset("disparity", _relative(384, 384, **IMAGENET), ("midasv21",), ("small",)),
    "midas_small": Preset("disparity", _relative(256, 256, **IMAGENET), ("midasv21small", "midassmall")),
    "dpt": Preset("disparity", _relative(384, 384, **HALF), ("dptlarge", "dpthybrid")),
    "depth_pro": Preset(
        "disparity", {"image_size": (1536, 1536), "activation": "none", "holds": "depth", **HALF}, ("depthpro",)
    ),
}


def presets_of(estimates: str) -> dict[str, Preset]:
    """Return the presets of networks that estimate ``saliency`` or ``disparity``."""
    return {name: preset for name, preset in PRESETS.items() if preset.estimates == estimates}


def recognised(stem: str, estimates: str) -> str | None:
    """Return the preset that a file's name stands for, if it is one's.

    Example:
        >>> recognised("isnet_quint8", "saliency"), recognised("depth_anything_v2_metric_vits", "disparity")
        ('isnet', None)
    """
    letters = re.sub(r"[\W_]", "", stem).lower()
    return next(
        (
            name
            for name, preset in presets_of(estimates).items()
            if letters.startswith(preset.marks) and not any(other in letters for other in preset.unlike)
        ),
        None,
    )
