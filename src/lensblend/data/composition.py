"""How a layered scene is composed: a backdrop, the ground, things that stand on it, and a subject in front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from lensblend.data import backdrops, cutouts, foliage
from lensblend.data.cutouts import Cutout
from lensblend.data.lens import Layer
from lensblend.data.pairs import Split
from lensblend.data.textures import resize

Maker = Callable[[np.random.Generator], Cutout]

_TRAINING_PORTRAIT, _PORTRAIT_SHARE = "astronaut.png", 0.3
_VALIDATION_PORTRAITS = {2: "chelsea.png", 5: "coffee.png"}  # each stands in the one scene of this index

_STANDING: tuple[tuple[Maker, tuple[float, float]], ...] = (
    (cutouts.ball, (0.55, 0.9)),
    (cutouts.figure, (1.2, 1.5)),
    (foliage.plant, (0.8, 1.3)),
    (foliage.tree, (1.5, 2.0)),
)


@dataclass(frozen=True)
class Scene:
    """Layers, farthest first, and the disparity that a photographer would focus on.

    Attributes:
        layers: Farthest first.
        focus: Disparity of the plane in focus.
    """

    layers: list[Layer]
    focus: float


def compose(
    rng: np.random.Generator, split: Split, image_size: tuple[int, int], near_focus: float = 0.9, index: int = 0
) -> Scene:
    """Compose a scene: a backdrop, the ground, things on it, and a subject in front, where the focus usually is.

    The ground is a plane in perspective, so a thing's disparity follows from where it touches the ground, and its
    size follows from both. Portraits stand before the ground. No photo is seen in two validation scenes or in both
    splits, but for the surfaces of ground and walls; the ways to draw things are shared.

    Args:
        rng: The scene is a function of it.
        split: Which photos may appear.
        image_size: ``(height, width)`` in pixels.
        near_focus: Probability that the nearest thing is in focus.
        index: Of the scene in its split; validation scenes 2 and 5 hold portraits.
    """
    height, width = image_size
    stage = _Stage(rng, split, height, width)
    feet = np.sort(rng.uniform(0.12, 0.5, int(rng.integers(1, 4))))
    behind = [stage.standing(foot) for foot in feet]
    portrait = _TRAINING_PORTRAIT if rng.random() < _PORTRAIT_SHARE else None
    if split == "val":
        portrait = _VALIDATION_PORTRAITS.get(index)
    if portrait:
        subject, foot = stage.portrait(portrait), 1.0
    else:
        foot = rng.uniform(0.78, 0.95)
        subject = stage.standing(foot, rng.uniform(0.25, 0.75))
    focus = subject if rng.random() < near_focus else behind[-1]
    things = [*zip(feet, behind, strict=True), (foot, subject)]
    layers = [stage.backdrop(), *stage.ground(things)]
    if rng.random() < 0.15:
        layers.append(stage.spray())
    return Scene(layers, float(focus.disparity[0, 0]))


class _Stage:
    """The place of one scene: where its horizon is and how disparity grows towards the camera."""

    def __init__(self, rng: np.random.Generator, split: Split, height: int, width: int) -> None:
        self._rng, self._height, self._width = rng, height, width
        kinds = [kind for kind in backdrops.KINDS if split == "train" or kind not in backdrops.PHOTOGRAPHED]
        self._kind = str(rng.choice(kinds))
        self._horizon = rng.uniform(0.35, 0.55) * height
        self._far = rng.uniform(0.02, 0.1)
        self._near = rng.uniform(0.8, 0.9)
        self._light = {"night": 0.25, "dusk": 0.45, "photo": 0.4}.get(self._kind, 1.0)
        self._shadow = np.ones((height, width), np.float32)

    def backdrop(self) -> Layer:
        painted = backdrops.backdrop(self._rng, self._kind, self._height, self._width)
        above = 1 - self._below()
        return self._layer(painted * above[..., None], above, self._far)

    def ground(self, things: Sequence[tuple[float, Layer]]) -> list[Layer]:
        """Paint the ground and stand things on it, far to near: each hides the ground behind its foot alone.

        Args:
            things: Foot and layer of each, farthest first.
        """
        rows = np.arange(self._height, dtype=np.float32)[:, None]
        below = self._below()
        depth = np.maximum(rows - self._horizon, 0) / (self._height - self._horizon)
        disparity = np.broadcast_to(self._far + depth * (self._near - self._far), below.shape).astype(np.float32)
        texels = 512 / self._width * self._rng.uniform(0.5, 1.2)
        painted = backdrops.ground(self._rng, self._height, self._width, self._horizon, texels)
        layers: list[Layer] = []
        ends = [round(self._row(foot)) for foot, _ in things]
        for first, last, thing in zip([0, *ends], [*ends, self._height], [*things, None], strict=True):
            alpha = below * ((rows >= first) & (rows < last))
            light = self._shadow * alpha * np.float32(self._light)
            layers.append(Layer(painted * light[..., None], alpha, disparity, joins=True))
            if thing:
                layers.append(thing[1])
        return layers

    def _below(self) -> Float32[np.ndarray, "h w"]:
        rows = np.arange(self._height, dtype=np.float32)[:, None]
        return np.broadcast_to(np.clip(rows - self._horizon + 0.5, 0, 1), self._shadow.shape).astype(np.float32)

    def _row(self, foot: float) -> float:
        return self._horizon + foot * (self._height - self._horizon)

    def standing(self, foot: float, place: float | None = None) -> Layer:
        """Stand something on the ground; ``foot`` runs from 0 at the horizon to 1 at the bottom of the frame."""
        maker, (low, high) = _STANDING[int(self._rng.integers(len(_STANDING)))]
        cutout = maker(self._rng)
        below = foot * (self._height - self._horizon)
        tall = max(4, round(below * self._rng.uniform(low, high)))
        wide = max(2, round(tall * cutout.alpha.shape[1] / cutout.alpha.shape[0]))
        row = self._row(foot)
        column = (self._rng.uniform(0.05, 0.95) if place is None else place) * self._width
        self._shadow *= backdrops.shadow(self._height, self._width, row, column, 0.5 * wide)
        disparity = self._far + foot * (self._near - self._far)
        return self._paste(cutout, (round(row) - tall, round(column - wide / 2)), (tall, wide), disparity)

    def portrait(self, name: str) -> Layer:
        """Put a photographed subject before the ground; it is cut off by the frame where its photo cut it off."""
        cutout = cutouts.from_photo(name)
        if self._rng.random() < 0.5:
            cutout = Cutout(cutout.colour[:, ::-1], cutout.alpha[:, ::-1])
        tall, wide = cutout.alpha.shape
        if name == "chelsea.png":  # the cat touches three sides of its photo
            factor = max(self._width / wide, self._height / tall)
            left = 0 if cutout.alpha[:, 0].mean() > cutout.alpha[:, -1].mean() else self._width - round(wide * factor)
        else:
            factor = self._height / tall * self._rng.uniform(0.7, 1.0)
            left = round(self._rng.uniform(-0.1, 1.1) * (self._width - wide * factor))
        size = round(tall * factor), round(wide * factor)
        disparity = self._rng.uniform(self._near, 0.95)
        return self._paste(cutout, (self._height - size[0], left), size, disparity)

    def spray(self) -> Layer:
        """Hang leaves into a corner, nearer than everything else."""
        cutout = foliage.spray(self._rng)
        side = round(self._rng.uniform(0.3, 0.5) * self._height)
        if self._rng.random() < 0.5:
            return self._paste(cutout, (0, 0), (side, side), 1.0)
        mirrored = Cutout(cutout.colour[:, ::-1], cutout.alpha[:, ::-1])
        return self._paste(mirrored, (0, self._width - side), (side, side), 1.0)

    def _paste(self, cutout: Cutout, corner: tuple[int, int], size: tuple[int, int], disparity: float) -> Layer:
        small = resize(np.concatenate([cutout.colour, cutout.alpha[..., None]], axis=2), *size)
        top, left = corner
        rows = slice(max(top, 0), max(min(top + size[0], self._height), 0))
        columns = slice(max(left, 0), max(min(left + size[1], self._width), 0))
        canvas = np.zeros((self._height, self._width, 4), np.float32)
        canvas[rows, columns] = small[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        light = np.float32(max(self._light, 0.5))
        return self._layer(canvas[..., :3] * light, np.minimum(canvas[..., 3], 1), disparity)

    @staticmethod
    def _layer(colour: np.ndarray, alpha: np.ndarray, disparity: float) -> Layer:
        return Layer(colour.astype(np.float32), alpha, np.full(alpha.shape, disparity, np.float32))
