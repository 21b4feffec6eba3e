"""How ``lensblend render`` renders one photo with a thin lens, from disparity or from a mask of what is in focus."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lensblend
from lensblend.cli.controls import Controls
from lensblend.cli.photo_files import Job
from lensblend.cli.photo_steps import Step, read, write
from lensblend.storage import json_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lensblend.data.pairs import Pair
    from lensblend.inference.prior_maps import Guide
    from lensblend.inference.refocusing import Advance


def lens_guides(controls: Controls, photos: int) -> dict[str, Guide]:
    """Return the sources of the maps that the lens needs."""
    from lensblend.inference.named_maps import named_maps

    sources = {"disparity": controls.disparity, "focus": controls.focus_mask}
    return {name: named_maps(name, source, photos) for name, source in sources.items() if source is not None}


def lens_step(controls: Controls, arguments: argparse.Namespace, guides: Mapping[str, Guide], advance: Advance) -> Step:
    """Return what renders one photo.

    Args:
        controls: Focus and aperture.
        arguments: Of the verb.
        guides: From `lens_guides`.
        advance: Is told how large a share of a photo is done.
    """
    import numpy as np

    from lensblend.data.originals import to_8_bits
    from lensblend.data.pairs import Pair
    from lensblend.inference.refocusing import refocus

    mark = f"lensblend {lensblend.__version__} {json_text({'lens': controls.settings}, indent=None)}"

    def step(job: Job) -> tuple[int, int]:
        original = read(job, arguments)
        pair = Pair(job.source.stem, to_8_bits(original.pixels), None)
        disparity, focus, kept = _aimed(controls, guides, pair)
        white = np.float32(np.iinfo(original.pixels.dtype).max)
        bokeh = refocus(original.pixels / white, disparity, controls.lens(focus), kept, advance)
        write(job, original, np.rint(bokeh * white).astype(original.pixels.dtype), mark, arguments.quality)
        return original.pixels.shape[:2]

    return step


def _aimed(
    controls: Controls, guides: Mapping[str, Guide], pair: Pair
) -> tuple[NDArray[np.float32], float, NDArray[np.float32] | None]:
    """Return a photo's disparity, that in focus, and what is kept sharp in any case."""
    import numpy as np

    from lensblend.inference.aiming import disparity_at, disparity_of

    maps: dict[str, Any] = {name: guide(pair) for name, guide in guides.items()}
    kept = maps.get("focus")
    if kept is None:
        disparity = maps["disparity"]
        focus = controls.focus_at if controls.focus is None else disparity_at(disparity, controls.focus)
        return disparity, float(focus or 0), None
    # Without disparity, all that is not kept lies as far behind as the farthest does behind the nearest.
    disparity = maps.get("disparity", np.zeros_like(kept))
    focus = disparity_of(disparity, kept)
    return (disparity, focus, kept) if "disparity" in maps else (disparity, 1.0, kept)
