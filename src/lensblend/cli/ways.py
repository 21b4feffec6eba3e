"""Which flags of ``lensblend render`` belong to which way of rendering; what would have no effect is refused."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from lensblend.cli.controls import Controls, spelt
from lensblend.errors import RequestError

if TYPE_CHECKING:
    from lensblend.runs.checkpoints import Trained

# A thin lens renders; a network does; a prior network's maps are pictured.
LENS, NETWORK, PRIOR = "lens", "network", "prior"
_ALL = (LENS, NETWORK, PRIOR)
WAYS: dict[str, Sequence[str]] = {
    "photos": _ALL,
    "output": _ALL,
    "recursive": _ALL,
    "overwrite": _ALL,
    "skip_existing": _ALL,
    "format": _ALL,
    "quality": _ALL,
    "json": _ALL,
    "max_megapixels": _ALL,
    "allow": _ALL,
    "model": (NETWORK, PRIOR),
    "network": (NETWORK, PRIOR),
    "device": (NETWORK, PRIOR),
    "image_size": (NETWORK, PRIOR),
    "depth": (NETWORK, PRIOR),
    "engine": (NETWORK,),
    "precision": (NETWORK,),
    "fast": (NETWORK,),
    "weights": (NETWORK,),
    "saliency": (NETWORK,),
    "blend_at": (NETWORK,),
    "disparity": (LENS, NETWORK),
    "focus": (LENS, NETWORK),
    "strength": (LENS, NETWORK),
    "f_number": (LENS, NETWORK),
    "focus_mask": (LENS,),
    "focus_at": (LENS,),
    "aperture": (LENS,),
    "blades": (LENS,),
    "rotation": (LENS,),
    "cats_eye": (LENS,),
    "highlights": (LENS,),
}


def check_flags(arguments: argparse.Namespace, controls: Controls) -> None:
    """Refuse flags that the way which the command line chooses has no use for, before anything is read.

    Raises:
        RequestError: Some would have no effect; the message names them and the remedy.
    """
    if controls.uses_lens:
        chosen = spelt([name for name in ("focus_mask", "focus", "focus_at") if vars(arguments)[name] is not None])
        _refuse(
            _beside(arguments, LENS),
            f"{chosen} asks for the thin lens, which renders on the CPU and without a network; leave either out.",
        )
    _refuse(
        [] if controls.uses_lens else [name for name in _beside(arguments, NETWORK) if WAYS[name] == (LENS,)],
        "a network renders; leave it out, or ask for the thin lens: `--focus-mask FILE`, or `--disparity SOURCE` with "
        "`--focus X,Y` or `--focus-at D`.",
    )


def check_network(arguments: argparse.Namespace, trained: Trained) -> None:
    """Refuse flags that a network has no use for.

    Raises:
        RequestError: Some would have no effect; the message names them and the remedy.
    """
    network = trained.network
    holds = f"{trained.path} holds {type(network).__name__}, which"
    if not network.renders:
        _refuse(_beside(arguments, PRIOR), f"{holds} renders no bokeh; leave it out, or give another model.")
    for name in ("saliency", "disparity"):
        if vars(arguments)[name] is not None and name not in network.guidance:
            aim = ", or add `--focus X,Y` or `--focus-at D` for the thin lens" if name == "disparity" else ""
            _refuse([name], f"{holds} takes no {name}; leave it out{aim}.")
    if arguments.depth and "disparity" not in network.estimates:
        _refuse(["depth"], f"{holds} predicts no depth; leave it out, or give a depth network's or the joint model's.")
    if arguments.weights and not _has_weights(trained):
        _refuse(["weights"], f"{holds} blends nothing by weights; leave it out.")


def check_quality(quality: int | None, formats: Collection[str]) -> None:
    """Refuse a quality where no picture is stored with a loss.

    Args:
        quality: As given; None where it was not.
        formats: Of the pictures that will be written, of `lensblend.data.listing.FORMATS`.
    """
    if quality is not None and formats and not set(formats) & {"jpeg", "webp"}:
        lossless = " and ".join(sorted(name.upper() for name in formats))
        raise RequestError(
            f"`--quality {quality}` would have no effect: nothing is lost in {lossless}; leave it out, or write JPEG "
            "or WebP (`--format`, or the suffix of `--output`)."
        )


def _beside(arguments: argparse.Namespace, way: str) -> list[str]:
    """Return the flags that were given and do not belong to a way."""
    return [name for name, ways in WAYS.items() if way not in ways and vars(arguments)[name] not in (None, False)]


def _refuse(names: Sequence[str], why: str) -> None:
    if names:
        raise RequestError(f"{spelt(names)} would have no effect: {why}")


def _has_weights(trained: Trained) -> bool:
    """Tell whether its renderings have weight maps; of a network that names none, by rendering a small grey photo."""
    import numpy as np

    from lensblend.inference.rendering import render_photo
    from lensblend.runs.checkpoints import check_renders

    network = check_renders(trained)
    if network.map_names:
        return True
    grey = np.full((64, 64, 3), 128, np.uint8)
    maps = {name: np.full((64, 64), 0.5, np.float32) for name in network.guidance}
    return "weights" in render_photo(network, grey, (64, 64), guidance=maps).aux
