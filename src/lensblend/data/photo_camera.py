"""A camera that takes a photo again: what is in it is parted, and its background put out of focus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from lensblend.data.camera import SecondShot, f_number_of, in_focus
from lensblend.data.lens import Layer, Lens, linearise, render
from lensblend.data.matting import part
from lensblend.data.pairs import Pair
from lensblend.errors import RequestError

_LEAST_SUBJECT = 0.005  # of the photo; below, it is a photo without a subject
_VIGNETTED = 0.4  # of the photos
_CLIPPED = (0.85, 1.0)  # linear light between which a highlight may have been brighter than the photo tells


@dataclass(frozen=True)
class PhotoCamera:
    """How the second photo is taken; lengths are shares of the photo's width.

    Attributes:
        radius: Least and largest radius of the disc of a point far behind the subject; drawn evenly by its logarithm.
        ground: Share of the photos in which the subject stands on a ground that recedes; in the others everything
            behind it is equally far.
        exposure: Standard deviation, in stops, of how much lighter or darker the second photo is.
        white_balance: Standard deviation of the gains of red and of blue.
        shift: Standard deviation of its misalignment on each axis.
        noise: Largest standard deviation of the noise of either photo, in shares of white.
        highlights: How many times brighter than white clipped highlights may have been.
        jitter: Strength, in [0, 1], with which brightness, contrast and colours of both photos are varied.
        cats_eye: Largest strength, in [0, 1], with which the rim of the lens cuts discs off towards the corners, as
            `lensblend.ops.apertures.Aperture` counts it; drawn evenly, in two fifths of the photos. In the others
            all discs are round, which is much faster.
    """

    radius: tuple[float, ...] = (0.009, 0.03)
    ground: float = 0.4
    exposure: float = 0.1
    white_balance: float = 0.02
    shift: float = 0.0005
    noise: float = 0.01
    highlights: float = 4.0
    jitter: float = 1.0
    cats_eye: float = 0.0  # as in trainings from before it; conf/data/photos.yaml says more

    def __post_init__(self) -> None:
        if len(self.radius) != 2 or not 0 < self.radius[0] <= self.radius[1] <= 0.2:
            raise RequestError(
                "`radius` is the least and the largest radius of a disc, shares of the width in (0, 0.2], "
                f"but got {list(self.radius)}; use [0.009, 0.03]."
            )
        limits = {
            "ground": 1,
            "exposure": 1,
            "white_balance": 0.3,
            "shift": 0.01,
            "noise": 0.2,
            "jitter": 1,
            "cats_eye": 1,
        }
        for name, most in {**limits, "highlights": 100}.items():
            if not 0 <= (value := getattr(self, name)) <= most:
                raise RequestError(f"`{name}` is in [0, {most}], but got {value}; use 0 for none.")


def take(
    rng: np.random.Generator,
    name: str,
    photo: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    camera: PhotoCamera,
    known: Float32[np.ndarray, "h w"] | None = None,
) -> Pair:
    """Take a photo again through a lens that is focused on its subject.

    Args:
        rng: Draws the lens, the distances and how the second photo differs.
        name: The pair's id.
        photo: 8-bit sRGB.
        alpha: How much of each pixel the subject covers.
        camera: What is drawn from.
        known: Disparity of the photo, where it is known; larger = nearer.
    """
    width = photo.shape[1]
    radius = width * float(np.exp(rng.uniform(*np.log(camera.radius))))
    depths = _distances(rng, alpha, camera.ground) if known is None else _relative(known, alpha)
    parts = part(linearise(photo), alpha)
    brighter = 1 + rng.uniform(0, max(camera.highlights - 1, 0)) * _clipped(parts.background)
    layers = [Layer(parts.background * brighter, np.ones_like(alpha), depths)]
    if alpha.any():
        layers.append(Layer(parts.subject * alpha[..., None], alpha, np.ones_like(alpha)))
    # Behind the farthest point nothing is blurred more, and what is much nearer than the subject is cut alike.
    lens = Lens(1.0, 2 * radius, max_radius=1.5 * radius, cats_eye=_cats_eye(rng, camera.cats_eye))
    gains = np.exp(camera.white_balance * rng.standard_normal(3) * [1, 0, 1]).astype(np.float32)
    stops, down, right = np.clip(rng.standard_normal(3), -2, 2)
    second = SecondShot(
        float(2 ** (camera.exposure * stops)), (camera.shift * float(down), camera.shift * float(right))
    )
    target = second.develop(render(layers, lens) * gains)
    visible = np.where(alpha >= 0.5, np.float32(1), depths)
    noise = rng.uniform(0, camera.noise, 2)
    return Pair(
        id=name,
        photo=_noisy(rng, photo, noise[0]),
        target=_noisy(rng, target, noise[1] / 2),
        maps={"disparity": np.clip(visible / 2, 0, 1), "mask": in_focus(visible, lens)},
        f_number=f_number_of(lens, width),
    )


def _cats_eye(rng: np.random.Generator, most: float) -> float:
    if most == 0:
        return 0.0  # draws nothing, so that what follows is as without
    return float(rng.uniform(0, most)) if rng.random() < _VIGNETTED else 0.0


def _distances(
    rng: np.random.Generator, alpha: Float32[np.ndarray, "h w"], ground: float
) -> Float32[np.ndarray, "h w"]:
    """Draw disparities of the background, 0 the farthest and 1 the subject's: a backdrop, and often a ground before it.

    The ground recedes from the row where the subject stands, or from the frame's lower part, to a horizon.
    """
    height, width = alpha.shape
    rows = np.flatnonzero((alpha > 0.5).any(axis=1))
    empty = not rows.size or alpha.mean() < _LEAST_SUBJECT
    if not empty and rng.random() >= ground:
        return np.zeros((height, width), np.float32)
    top, foot = (rng.uniform(0, 0.4) * height, rng.uniform(0.7, 1.0) * height) if empty else (rows[0], rows[-1] + 1)
    if not empty and foot >= height:
        foot = height * rng.uniform(1.0, 1.3)  # it goes on below the frame
    horizon = foot - (foot - top) * rng.uniform(0.15, 0.9)
    along = (np.arange(height) + 0.5 - horizon) / (foot - horizon)
    plane = np.clip(along, 0, 1.75).astype(np.float32)
    return np.repeat(plane[:, None], width, axis=1)


def _relative(disparity: Float32[np.ndarray, "h w"], alpha: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Scale known disparities so that the farthest point has 0 and the subject 1."""
    far = np.float32(np.quantile(disparity, 0.02))
    subject = disparity[alpha > 0.5] if (alpha > 0.5).any() else disparity
    near = np.float32(np.median(subject) if (alpha > 0.5).any() else np.quantile(subject, 0.9))
    if near <= far:
        return np.zeros_like(disparity)
    return np.clip((disparity - far) / (near - far), 0, 1.75).astype(np.float32)


def _clipped(light: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 1"]:
    low, high = _CLIPPED
    return np.clip((light.max(axis=2, keepdims=True) - low) / (high - low), 0, 1) ** 2


def _noisy(rng: np.random.Generator, photo: UInt8[np.ndarray, "h w 3"], sigma: float) -> UInt8[np.ndarray, "h w 3"]:
    if sigma == 0:
        return photo
    noise = rng.standard_normal(photo.shape, np.float32) * np.float32(255 * sigma)
    return np.rint(np.clip(photo + noise, 0, 255)).astype(np.uint8)
