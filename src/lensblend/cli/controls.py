"""What a photographer decides about a rendering: how strong the blur is, where the focus lies, the lens's aperture."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lensblend.errors import DataError, RequestError
from lensblend.runs.messages import say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lensblend.inference.refocusing import ThinLens
    from lensblend.nn.rendering import BokehNetwork
    from lensblend.runs.checkpoints import Trained

_WIDEST = 0.5  # of the photo's width
REMEDY = (
    "give `--disparity SOURCE` (a map, a folder of maps, FILE.onnx, or a depth network's run), or `--focus-mask FILE`"
)


@dataclass(frozen=True)
class Controls:
    """What the command line says, checked; None where it says nothing.

    Attributes:
        strength: Factor on the blur.
        f_number: Full-frame aperture to render as.
        focus: The point in focus, right and down: shares of the sides where both are at most 1, else pixels.
        focus_mask: Source of masks of what is in focus.
        focus_at: Disparity in focus.
        disparity: Source of disparity.
        aperture: Diameter of the disc one unit of disparity from focus, as a share of the width.
        blades: Of the aperture.
        rotation: Of the aperture, in degrees.
        cats_eye: How far discs are cut off towards the corners.
        highlights: How much brighter clipped values are taken to be.
    """

    strength: float | None = None
    f_number: float | None = None
    focus: tuple[float, float] | None = None
    focus_mask: str | None = None
    focus_at: float | None = None
    disparity: str | None = None
    aperture: float | None = None
    blades: int | None = None
    rotation: float | None = None
    cats_eye: float | None = None
    highlights: float | None = None

    def __post_init__(self) -> None:
        self._check_combination()
        if self.uses_lens:
            self.lens(0.0)  # refuses an aperture that is none

    @property
    def uses_lens(self) -> bool:
        """Whether the thin lens renders, from a mask or from disparity, and no network."""
        aimed = self.focus is not None or self.focus_at is not None
        return self.focus_mask is not None or (self.disparity is not None and aimed)

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked for, by name."""
        return {name: value for name, value in vars(self).items() if value is not None and name != "disparity"}

    def lens(self, focus: float) -> ThinLens:
        """Return the lens, focused at a disparity; without any word of its aperture it is EBB!'s."""
        from lensblend.data.camera import Camera
        from lensblend.inference.refocusing import ThinLens
        from lensblend.ops.apertures import Aperture

        aperture = Camera.aperture if self.aperture is None else self.aperture
        if self.f_number is not None:
            aperture = Camera.aperture_at(self.f_number)
        aperture *= self.strength or 1
        if aperture > _WIDEST:
            raise RequestError(
                f"The aperture asked for makes discs of {aperture:g} of the photo's width a unit of disparity from "
                f"focus, and {_WIDEST} at most is rendered; use a larger `--f-number`, or a smaller `--aperture`."
            )
        shape = Aperture(self.blades or 0, self.rotation or 0.0, self.cats_eye or 0.0)
        return ThinLens(focus, aperture, shape, self.highlights or 0.0)

    def strength_for(self, trained: Trained) -> float:
        """Return the factor on a trained network's blurs.

        Raises:
            RequestError: It would follow from the f-number of the training, which nobody knows.
        """
        if self.f_number is None:
            return self.strength or 1.0
        if trained.f_number is None:
            raise RequestError(
                f"{trained.path} does not say at which f-number it was trained, so that `--f-number` means nothing to "
                "it; use `--strength`, 2 for twice as wide a blur."
            )
        return trained.f_number / self.f_number

    def applied(self, trained: Trained) -> BokehNetwork:
        """Return a trained network with the blur that is asked for, and say at which f-number where that is untold.

        Raises:
            RequestError: As `strength_for`.
        """
        from lensblend.runs.checkpoints import check_renders

        network = check_renders(trained)
        if network.f_numbers is None:
            strength = self.strength_for(trained)
            return network if strength == 1 else network.scaled(strength)
        least, largest = network.f_numbers
        trained_at = f"what {trained.path} was trained at, f/{least:g} to f/{largest:g}"
        if self.f_number is None:
            say(f"Rendered at f/{least:g}, the widest of {trained_at}; `--f-number N` asks for another.")
        elif not least <= self.f_number <= largest:
            say(f"f/{self.f_number:g} is outside of {trained_at}.")
        network = network.at_f_number(self.f_number or least)
        return network.scaled(self.strength) if self.strength else network

    def told(self, network: BokehNetwork) -> float | None:
        """Return the f-number that a network is told: as asked, or the least of its training; None if it takes none."""
        return None if network.f_numbers is None else self.f_number or network.f_numbers[0]

    def _check_combination(self) -> None:
        widths = [name for name in ("strength", "f_number", "aperture") if vars(self)[name] is not None]
        if len(widths) > 1:
            raise RequestError(f"{spelt(widths)} all say how wide the blur is; give one of them.")
        aims = [name for name in ("focus", "focus_mask", "focus_at") if vars(self)[name] is not None]
        if len(aims) > 1:
            raise RequestError(f"{spelt(aims)} all say what is in focus; give one of them.")
        if self.focus_at is not None and self.disparity is None:
            raise RequestError(f"`--focus-at {self.focus_at:g}` is a disparity, and there is none: {REMEDY}.")
        if self.rotation is not None and not self.blades:
            raise RequestError(
                "`--rotation` turns the blades of an aperture, and a round one has none; add `--blades`."
            )


def add_controls(verb: argparse.ArgumentParser) -> None:
    """Add the options; `controls_of` reads and checks them."""
    blur = verb.add_argument_group(
        "blur", "How wide it is: of the blurs of a network that blends (default: as trained), or of the thin lens."
    )
    blur.add_argument("--strength", metavar="S", help="factor on the blur: 2 is twice as wide")
    blur.add_argument(
        "--f-number",
        metavar="N",
        help="as a full-frame camera at f/N; half of N is twice as wide (default: of a network that is told f-numbers, "
        "the least of its training)",
    )
    focus = verb.add_argument_group(
        "focus",
        "With --focus-mask, or with --disparity and a point or plane, a thin lens renders instead of a network.",
    )
    focus.add_argument(
        "--focus",
        metavar="X,Y",
        help="what lies at this point is in focus: shares of width and height from the upper left, or pixels where a "
        "number is above 1",
    )
    focus.add_argument("--focus-at", metavar="D", help="what has this disparity is in focus, 0 farthest to 1 nearest")
    focus.add_argument(
        "--focus-mask", metavar="SOURCE", help="what is white in a mask stays sharp: a file, a folder, or FILE.onnx"
    )
    focus.add_argument(
        "--aperture", metavar="A", help="instead of --f-number: diameter of discs a unit of disparity from focus, as a "
        "share of the width (default: 0.024, which is f/2.88)"
    )  # fmt: skip
    focus.add_argument("--blades", metavar="N", help="an aperture of N corners (default: 0, round)")
    focus.add_argument("--rotation", metavar="DEGREES", help="of the blades, clockwise")
    focus.add_argument("--cats-eye", metavar="S", help="cut discs off towards the corners, 0 to 1 (default: 0)")
    focus.add_argument(
        "--highlights", metavar="B", help="take clipped white to be 1 + B times as bright, so that lights become discs"
    )


def controls_of(arguments: argparse.Namespace) -> Controls:
    """Return what the command line says.

    Raises:
        RequestError: A value is no number, out of range, or fits nothing else that was asked for.
    """
    given = vars(arguments)
    return Controls(
        strength=_number(given, "strength", "is above 0; 2 is twice as wide a blur", above=0),
        f_number=_number(given, "f_number", "is above 0; use 2.8", above=0),
        focus=_point(given["focus"]),
        focus_mask=given["focus_mask"],
        focus_at=_number(given, "focus_at", "is a disparity from 0 (farthest) to 1 (nearest)", least=0, most=1),
        disparity=given["disparity"],
        aperture=_number(given, "aperture", "is a share of the width above 0; use 0.024", above=0),
        blades=_blades(given["blades"]),
        rotation=_number(given, "rotation", "is in degrees; use 15"),
        cats_eye=_number(given, "cats_eye", "is from 0 to 1; use 0.5", least=0, most=1),
        highlights=_number(given, "highlights", "is from 0 to 1000; use 5", least=0, most=1000),
    )


def check_aim(point: tuple[float, float], weights: Sequence[NDArray[np.uint8]], network: BokehNetwork) -> None:
    """Refuse a point that a network does not keep sharp: it chooses by itself what it blurs.

    Args:
        point: As in `Controls`.
        weights: The photo's weight maps, sharpest first; none of networks that blend nothing.
        network: For the message.

    Raises:
        DataError: Elsewhere is more than half of a blur, or nobody knows.
    """
    from lensblend.inference.aiming import around

    name, spelt = type(network).__name__, f"`--focus {point[0]:g},{point[1]:g}`"
    if not weights:
        raise DataError(f"{name} does not tell what it keeps sharp, so that {spelt} means nothing to it: {REMEDY}.")
    share = float(around(weights[0], point).mean()) / 255
    if share < 0.5:
        raise DataError(
            f"{spelt} is not on the subject that {name} keeps sharp (its share of the photo there is {share:.2f}); to "
            f"focus elsewhere, {REMEDY}."
        )


def _number(
    given: dict[str, Any],
    name: str,
    meaning: str,
    above: float | int = -math.inf,
    least: float | int = -math.inf,
    most: float | int = math.inf,
) -> float | None:
    text = given[name]
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and above < number and least <= number <= most):
        raise RequestError(f"`--{name.replace('_', '-')}` {meaning}, but got {text!r}.")
    return number


def _blades(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 4:
        raise RequestError(f"`--blades` is a whole number, 3 or more, or 0 for a round aperture, but got {text!r}.")
    return int(text)


def _point(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = math.nan
    if not all(math.isfinite(part) and part >= 0 for part in (x, y)):
        raise RequestError(
            f"`--focus` is X,Y, two numbers from the upper left corner: shares of width and height, or pixels, but got "
            f"{text!r}; use 0.5,0.5 for the middle."
        )
    return x, y


def spelt(names: Sequence[str]) -> str:
    """Return flags as they are typed, for a message.

    Example:
        >>> spelt(["focus_mask", "blades"])
        '`--focus-mask` and `--blades`'
    """
    return " and ".join(f"`--{name.replace('_', '-')}`" for name in names)
