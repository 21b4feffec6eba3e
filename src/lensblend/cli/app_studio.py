"""How ``lensblend demo-app`` renders an upload: by the steps of ``lensblend render``, with its model kept loaded."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensblend.cli.controls import REMEDY, Controls, controls_of
from lensblend.cli.lens_steps import lens_guides, lens_step
from lensblend.cli.photo_files import Job, jobs_of
from lensblend.cli.photo_steps import map_names, rendering_step
from lensblend.cli.render import QUALITY, parser, trained_for, unusable
from lensblend.cli.ways import check_flags
from lensblend.errors import DataError, RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lensblend.data.originals import Original
    from lensblend.inference.prior_maps import Guide

STRENGTHS = 0.25, 4.0  # the least and the largest
F_NUMBERS = 1.0, 22.0
_PREVIEW = 1600  # pixels of the longer side
_RING = 24  # as a share of the longer side, the ring around the focus is one of


@dataclass(frozen=True)
class Wish:
    """What a visitor asks for, as the browser sends it; None where nothing is said.

    Attributes:
        strength: Factor on the blur, within ``STRENGTHS``.
        f_number: Within ``F_NUMBERS``.
        focus: The point in focus, shares of width and height.

    Raises:
        RequestError: A value is no number within its range.
    """

    strength: Any = None
    f_number: Any = None
    focus: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _within("The strength", self.strength, *STRENGTHS)
        _within("The f-number", self.f_number, *F_NUMBERS)
        for side in self.focus or ():
            _within("A share of the photo's side", side, 0.0, 1.0)

    def flags(self) -> list[str]:
        """Return the words by which ``lensblend render`` is asked for the same."""
        words = [] if self.strength in (None, 1) else [f"--strength={self.strength!r}"]
        words += [] if self.f_number is None else [f"--f-number={self.f_number!r}"]
        return words if self.focus is None else [*words, f"--focus={self.focus[0]!r},{self.focus[1]!r}"]


def _within(what: str, number: Any, least: float, most: float) -> None:
    known = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    if number is not None and not (known and least <= number <= most):
        raise RequestError(f"{what} is a number from {least:g} to {most:g}; move the slider.")


class Studio:
    """A model, and where it is given a source of disparity for the thin lens.

    Args:
        model: As ``lensblend render --model``; None takes the model in the box.
        disparity: As ``lensblend render --disparity``.
        device: Where the network computes: auto, cpu or cuda.
        max_megapixels: Of photos.

    Raises:
        RequestError: The model renders no bokeh, or a source is missing.
    """

    def __init__(
        self, model: str | None, disparity: str | None = None, device: str = "auto", max_megapixels: float = 24.0
    ) -> None:
        from lensblend.inference.guidance import guides_of
        from lensblend.inference.rendering import choose_device
        from lensblend.runs.checkpoints import check_renders

        self.max_pixels = int(max_megapixels * 1e6)
        self._flags = [f"--max-megapixels={max_megapixels!r}", "--overwrite"]
        self._disparity = disparity
        named = [] if model is None else ["--model", model]
        self.trained = trained_for(self._parsed(Path("photo.png"), named), choose_device(device))
        network = check_renders(self.trained)
        self.takes_f_numbers = self.trained.f_number is not None or network.f_numbers is not None
        self._maps = ["--weights"] * bool(network.map_names) + ["--depth"] * ("disparity" in network.estimates)
        taken = disparity if "disparity" in network.guidance else None
        self._guides: Mapping[str, Guide] = guides_of(self.trained, {"disparity": taken})
        self._lens_guides: Mapping[str, Guide] = {}
        if disparity is not None:
            self._lens_guides = lens_guides(Controls(disparity=disparity, focus_at=0.5), 1)
        self._taken = [] if taken is None else ["--disparity", taken]

    @property
    def focuses(self) -> bool:
        """Whether any point can be focused on: there is disparity for the thin lens."""
        return self._disparity is not None

    def render(self, photo: Path, wish: Wish, advance: Callable[[float], None]) -> tuple[Path, dict[str, Path]]:
        """Render a photo into files beside it, as ``lensblend render`` would.

        Args:
            photo: In a folder of its own.
            wish: Strength, f-number, focus.
            advance: Is told how large a share of the photo is done.

        Returns:
            The rendering, and pictures of maps by their names.

        Raises:
            DataError: The photo cannot be rendered so.
            RequestError: The model cannot do what is asked for.
        """
        lens = self._disparity is not None and wish.focus is not None
        more = ["--disparity", str(self._disparity)] if lens else [*self._taken, *self._maps]
        arguments = self._parsed(photo, [*wish.flags(), *more])
        controls = controls_of(arguments)
        check_flags(arguments, controls)
        (job,) = jobs_of(arguments, None)
        guides = self._lens_guides if lens else self._guides
        for reason in unusable([job], guides, self.max_pixels).values():
            raise DataError(reason)
        if lens:
            lens_step(controls, arguments, guides, advance)(job)
            return job.target, {"depth": self._pictured(job, guides["disparity"])}
        rendering_step(self.trained, arguments, guides, advance)(job)
        names = map_names(self.trained, arguments)
        return job.target, {name: job.map_file(name) for name in names if job.map_file(name).exists()}

    def _parsed(self, photo: Path, words: list[str]) -> argparse.Namespace:
        arguments = parser().parse_args([str(photo), *self._flags, *words])
        arguments.quality = QUALITY
        return arguments

    def _pictured(self, job: Job, guide: Guide) -> Path:
        """Write what the lens took for disparity as a picture, white = nearest."""
        import numpy as np

        from lensblend.data.images import read_photo, write_image
        from lensblend.data.pairs import Pair

        disparity = guide(Pair(job.source.stem, read_photo(job.source, self.max_pixels), None))
        file = job.map_file("depth")
        write_image(file, np.repeat(np.rint(disparity * 255).astype(np.uint8)[..., None], 3, axis=2))
        return file


def shown(picture: Path, to: Path, max_pixels: int, focus: tuple[float, float] | None = None) -> tuple[int, int]:
    """Write a picture as a browser is to show it: upright, 8 bits, at most 1600 pixels a side, without metadata.

    Args:
        picture: Any that is read here.
        to: The file to write; its suffix decides the format.
        max_pixels: Larger pictures are refused.
        focus: The point around which a ring is drawn.

    Returns:
        Height and width of the picture itself.

    Raises:
        DataError: It is none, damaged, or too large.
    """
    from lensblend.data.listing import format_of
    from lensblend.data.metadata import Metadata
    from lensblend.data.originals import Original, encoded, read_original
    from lensblend.data.transforms import resize_lanczos
    from lensblend.storage import write_atomically

    original = read_original(picture, max_pixels).flattened().in_8_bits()
    height, width = original.pixels.shape[:2]
    share = min(1.0, _PREVIEW / max(height, width))
    pixels = original.pixels
    if share < 1:
        pixels = resize_lanczos(pixels, (max(1, round(height * share)), max(1, round(width * share))))
    if focus is not None:
        pixels = _ringed(pixels, focus)
    small: Original = Original(pixels, metadata=Metadata(icc=original.metadata.icc))
    write_atomically(to, encoded(small, pixels, str(format_of(to.suffix)), "lensblend demo-app", where=to.name))
    return height, width


def _ringed(pixels: NDArray[np.uint8], focus: tuple[float, float]) -> NDArray[np.uint8]:
    """Draw a white ring with a dark rim around a point, shares of width and height."""
    import numpy as np
    from PIL import Image, ImageDraw

    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    x, y = focus[0] * picture.width, focus[1] * picture.height
    radius = max(6.0, max(picture.size) / _RING)
    line = max(2, round(radius / 6))
    for around, colour, width in ((line, (20, 20, 20), 3 * line), (0, (255, 255, 255), line)):
        far = radius + around
        draw.ellipse((x - far, y - far, x + far, y + far), outline=colour, width=width)
    return np.array(picture)


REMEDY_IN_APP = "start the app with `--disparity SOURCE`"


def in_the_apps_words(message: str, photo: Path) -> str:
    """Return a message of ``lensblend render`` as a visitor can act on it: without this machine's folders."""
    return message.replace(REMEDY, REMEDY_IN_APP).replace(str(photo), "the photo").replace(str(photo.parent), "")
