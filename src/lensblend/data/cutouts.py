"""Things that stand in rendered scenes: cut out of photos that scikit-image ships, or drawn; with soft edges."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw
from scipy import ndimage

from lensblend.data import textures
from lensblend.data.lens import linearise

FINE = 320
"""Height, in pixels, at which things are drawn before they are resized into a scene."""

SUPERSAMPLING = 4
"""Finer than that while shapes are filled, so that their edges are soft."""

# Outlines in pixels of the photos, clockwise; they end beyond the frame where the photo cuts the thing off.
_OUTLINES = {
    "astronaut.png": (
        "38,516 28,470 22,420 22,390 26,350 34,310 42,270 60,246 85,228 108,208 117,200 118,186 126,176 "
        "134,162 149,153 168,150 184,151 182,134 175,125 166,115 157,98 155,76 161,58 178,43 192,33 205,24 "
        "225,18 245,20 262,27 282,39 293,55 299,78 298,100 289,117 277,130 268,136 264,150 256,168 257,176 "
        "277,190 293,208 302,228 304,236 320,243 335,257 345,277 352,300 358,330 362,348 385,346 405,345 "
        "428,351 450,367 468,387 481,410 491,436 497,458 503,470 507,490 505,516"
    ),
    "chelsea.png": (
        "-4,304 -4,152 15,131 37,108 34,60 38,-4 396,-4 385,18 370,38 355,68 355,90 361,115 359,135 356,155 "
        "344,185 327,205 311,215 311,240 314,255 303,275 285,288 300,304"
    ),
    "coffee.png": (
        "78,215 83,180 96,145 121,112 151,85 178,71 190,55 215,36 245,23 285,19 320,22 355,33 385,53 397,70 "
        "403,68 412,68 423,75 420,92 415,105 436,123 457,150 472,185 478,220 475,255 461,290 439,321 404,354 "
        "360,377 310,387 280,388 230,381 180,361 141,334 111,304 89,265"
    ),
}


class Cutout(NamedTuple):
    """A thing on a transparent ground.

    Attributes:
        colour: Linear light times ``alpha``, ``(h, w, 3)``.
        alpha: Coverage in [0, 1], ``(h, w)``.
    """

    colour: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]


def frozen(colour: np.ndarray, alpha: np.ndarray) -> Cutout:
    """Build a cutout whose arrays cannot be written to: those cut out of photos are shared."""
    cutout = Cutout(colour.astype(np.float32), alpha.astype(np.float32))
    cutout.colour.setflags(write=False)
    cutout.alpha.setflags(write=False)
    return cutout


@functools.cache
def from_photo(name: str) -> Cutout:
    """Cut the astronaut, the cat (chelsea) or the cup (coffee) out of its photo, with an edge of about two pixels."""
    photo = textures.photo(name)
    outline = [tuple(map(float, point.split(","))) for point in _OUTLINES[name].split()]
    margin = 8  # lets the outline leave the frame without its edge being softened there
    height, width = photo.shape[0] + 2 * margin, photo.shape[1] + 2 * margin
    canvas = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    points = [(float((x + margin) * SUPERSAMPLING), float((y + margin) * SUPERSAMPLING)) for x, y in outline]
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    coverage = np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) / 255
    alpha = ndimage.gaussian_filter(coverage, 1.2)[margin:-margin, margin:-margin]
    return frozen(linearise(photo) * alpha[..., None], alpha)


def ball(rng: np.random.Generator) -> Cutout:
    """Draw a patterned ball, lit from above, with a highlight."""
    axis = np.linspace(-1, 1, FINE, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    depth = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    light = 0.12 + 0.88 * np.clip(0.35 * x - 0.65 * y + 0.67 * depth, 0, 1)
    glint = 3 * np.clip(0.45 * x - 0.62 * y + 0.64 * depth, 0, 1) ** 60
    pattern = textures.fabric(rng, FINE) if rng.random() < 0.6 else textures.wood(rng, FINE)
    alpha = np.clip((1 - np.hypot(x, y)) * FINE / 3, 0, 1)
    return frozen((pattern * light[..., None] + glint[..., None]) * alpha[..., None], alpha)


def figure(rng: np.random.Generator) -> Cutout:
    """Draw a person: legs, clothed body, round head with hair, laid over one another in this order."""
    shape = FINE, round(0.42 * FINE)
    tone = np.float32(rng.uniform(0.25, 0.8))
    surfaces = (
        0.6 * textures.ramp(textures.noise(rng, shape, 30), (0.01, 0.015, 0.03), (0.12, 0.13, 0.2)),
        textures.fabric(rng, FINE)[:, : shape[1]],
        tone * textures.ramp(textures.noise(rng, shape, 12), (0.7, 0.4, 0.26), (0.8, 0.5, 0.36)),
        textures.ramp(textures.noise(rng, shape, 60), (0.01, 0.006, 0.004), (0.2, 0.1, 0.04)),
    )
    colour: np.ndarray = np.zeros((*shape, 3), np.float32)
    alpha: np.ndarray = np.zeros(shape, np.float32)
    for surface, cover in zip(surfaces, _figure_parts(rng, shape), strict=True):
        rounded = 0.35 + 0.65 * np.clip(ndimage.gaussian_filter(cover, 12) * 2 - 0.7, 0, 1)
        colour = colour * (1 - cover[..., None]) + surface * (rounded * cover)[..., None]
        alpha = alpha + cover * (1 - alpha)
    return frozen(colour, alpha)


def _figure_parts(rng: np.random.Generator, shape: tuple[int, int]) -> list[Float32[np.ndarray, "h w"]]:
    """Return the coverage of legs, body, head and hair."""
    size = shape[0] * SUPERSAMPLING
    lean, limb = rng.uniform(-0.02, 0.02), rng.uniform(0.055, 0.075)
    coat, head = rng.uniform(0.5, 0.66), rng.uniform(0.06, 0.075)

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [((0.21 + x + lean * (1 - y)) * size, y * size) for x, y in points]

    canvases = [Image.new("L", (shape[1] * SUPERSAMPLING, size)) for _ in range(4)]
    legs, body, face, hair = (ImageDraw.Draw(canvas) for canvas in canvases)
    body.polygon(at((-0.12, 0.23), (-0.05, 0.17), (0.05, 0.17), (0.12, 0.23), (0.13, coat), (-0.13, coat)), fill=255)
    for side in (-1, 1):
        legs.line(at((side * 0.05, 0.5), (side * 0.075, 0.985)), fill=255, width=round(limb * 1.5 * size))
        arm = at((side * 0.11, 0.23), (side * 0.155, 0.4), (side * 0.14, 0.55))
        body.line(arm, fill=255, width=round(limb * size), joint="curve")
    face.ellipse(at((-head, 0.03), (head, 0.03 + 2.5 * head)), fill=255)
    hair.pieslice(at((-head - 0.012, 0.01), (head + 0.012, 0.03 + 2.3 * head)), 170, 370, fill=255)
    return [np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) / 255 for canvas in canvases]
