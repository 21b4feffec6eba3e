"""What ``lensblend compare`` scores: metrics by name, the files of their weights, and what is in focus."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lensblend.cli.flags import path
from lensblend.errors import RequestError, nearest

# By name: the class, and which option names its weights.
SCORES: dict[str, tuple[str, str | None]] = {
    "psnr": ("fidelity.Psnr", None),
    "ssim": ("fidelity.Ssim", None),
    "ssim_wang": ("fidelity.SsimWang", None),
    "lpips": ("perceptual.Lpips", "lpips"),
    "lpips_vgg": ("perceptual.LpipsVgg", "vgg16"),
    "dists": ("dists.Dists", "vgg16"),
    "psnr_in": ("focus.PsnrIn", None),
    "psnr_out": ("focus.PsnrOut", None),
    "ssim_in": ("focus.SsimIn", None),
    "ssim_out": ("focus.SsimOut", None),
    "edges": ("focus.Edges", None),
}
USUAL = ("psnr", "ssim", "lpips")
FOCUS = {
    "from_pair": {"_target_": "lensblend.inference.guidance.FromPair"},
    "truth": {"_target_": "lensblend.inference.guidance.Truth"},
}


def add_flags(verb: argparse.ArgumentParser) -> None:
    """Add the flags to the verb's command line."""
    verb.add_argument(
        "--metrics",
        type=_names,
        default=list(USUAL),
        metavar="NAME,...",
        help=f"what to score, of {', '.join(SCORES)} (default: {','.join(USUAL)})",
    )
    verb.add_argument("--lpips-weights", type=path, metavar="PATH", help="torchvision's alexnet-owt-7be5be79.pth")
    verb.add_argument(
        "--vgg16-weights", type=path, metavar="PATH", help="torchvision's vgg16-397923af.pth, for lpips_vgg and dists"
    )
    verb.add_argument(
        "--focus",
        choices=list(FOCUS),
        help="what is in focus, for psnr_in, psnr_out, ssim_in, ssim_out, edges: where photo and target are equally "
        "sharp (from_pair; default), or the data's own masks (truth)",
    )


def _names(text: str) -> list[str]:
    names = text.split(",")
    wrong = [name for name in names if name not in SCORES]
    if wrong:
        raise argparse.ArgumentTypeError(
            f"names of metrics with commas between, but got {wrong[0]!r}{nearest(wrong[0], list(SCORES))}"
        )
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"each metric once, but got {text!r}")
    return names


def weights_named(arguments: argparse.Namespace) -> dict[str, Path]:
    """Return the files of weights that a command names, by the option's name.

    Raises:
        RequestError: No metric that is scored looks at one of them.
    """
    found: dict[str, Path] = {}
    for name, file in (("lpips", arguments.lpips_weights), ("vgg16", arguments.vgg16_weights)):
        if file is None:
            continue
        if name not in (SCORES[metric][1] for metric in arguments.metrics):
            fitting = " or ".join(metric for metric, (_, option) in SCORES.items() if option == name)
            raise RequestError(
                f"`--{name}-weights` {file} would have no effect: `--metrics` has no {fitting}; add it, or leave the "
                "file out."
            )
        found[name] = file
    return found


def build(arguments: argparse.Namespace, weights: Mapping[str, Path]) -> dict[str, Any]:
    """Build the metrics, leaving out with a sentence those whose weights are not here.

    Raises:
        RequestError: None is left, or ``--focus`` has no use.
    """
    from lensblend.inference.evaluation import taken
    from lensblend.runs.building import build_metrics

    nodes = {}
    for name in arguments.metrics:
        place, option = SCORES[name]
        file = {"weights": str(weights[option]) if option in weights else None} if option else {}
        nodes[name] = {"_target_": f"lensblend.metrics.{place}", **file}
    metrics, left_out = build_metrics(nodes)
    for option in dict.fromkeys(SCORES[name][1] for name in left_out):
        print(f"Here, `--{option}-weights PATH` names that file.")
    if not metrics:
        raise RequestError(f"None of `--metrics` {','.join(arguments.metrics)} can be scored; see above.")
    if arguments.focus and not taken(metrics):
        raise RequestError(
            f"`--focus {arguments.focus}` would have no effect: no metric here takes what is in focus; add "
            "`--metrics psnr,psnr_in,psnr_out`, say."
        )
    return metrics
