"""Plants that are drawn: leaf by leaf, with soft edges, for rendered scenes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lensblend.data import textures
from lensblend.data.cutouts import FINE, SUPERSAMPLING, Cutout, frozen


def plant(rng: np.random.Generator) -> Cutout:
    """Draw a plant: leaves on bent stems, in a pot."""
    pot = textures.ramp(np.array([[rng.random()]], np.float32), (0.3, 0.1, 0.05), (0.5, 0.45, 0.4))[0, 0]
    brush = _Brush(FINE, FINE)
    for _ in range(int(rng.integers(9, 15))):
        angle, length = rng.uniform(-1.1, 1.1), rng.uniform(0.4, 0.72)
        along = np.linspace(0.1, 1, 9)
        xs = 0.5 + length * np.sin(angle) * along**1.3 * 0.62
        ys = 0.78 - length * np.cos(angle * 0.8) * along
        brush.stem(np.stack([xs, ys], 1), 0.008, (0.03, 0.07, 0.02))
        flower = rng.random() < 0.2
        for x, y in zip(xs[2:], ys[2:], strict=True):
            for side in (-1, 1):
                brush.leaf(x, y, angle + side * rng.uniform(0.5, 1.1), rng.uniform(0.07, 0.14), _leaf_colour(rng))
        if flower:
            brush.disc(xs[-1], ys[-1], 0.035, textures.saturated(rng))
    corners = [(0.34, 0.72), (0.66, 0.72), (0.61, 0.99), (0.39, 0.99)]
    brush.polygon(corners, (float(pot[0]), float(pot[1]), float(pot[2])))
    return brush.finish(rng)


def tree(rng: np.random.Generator) -> Cutout:
    """Draw a tree: a trunk and a crown of leaves."""
    brush = _Brush(FINE, round(0.8 * FINE))
    bark = (0.06, 0.04, 0.025)
    brush.polygon([(0.38, 0.4), (0.43, 0.4), (0.45, 1.0), (0.36, 1.0)], bark)
    middle = rng.uniform(0.28, 0.34)
    for _ in range(420):
        angle, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        x, y = 0.4 + 0.36 * distance * np.cos(angle), middle + 0.26 * distance * np.sin(angle)
        shade = 1.25 - 1.1 * y
        red, green, blue = _leaf_colour(rng)
        brush.leaf(x, y, rng.uniform(0, 2 * np.pi), 0.06, (red * shade, green * shade, blue * shade))
    return brush.finish(rng)


def spray(rng: np.random.Generator) -> Cutout:
    """Draw a hanging spray of leaves, as it enters a frame from a corner."""
    brush = _Brush(FINE, FINE)
    for _ in range(5):
        tip = rng.uniform(0.35, 1.0, 2)
        along = np.linspace(0, 1, 8)
        xs, ys = along * tip[0], along**1.4 * tip[1]
        brush.stem(np.stack([xs, ys], 1), 0.008, (0.04, 0.04, 0.02))
        for x, y in zip(xs, ys, strict=True):
            brush.leaf(x, y, rng.uniform(0, np.pi), rng.uniform(0.1, 0.16), _leaf_colour(rng))
    return brush.finish(rng)


class _Brush:
    """Paint flat shapes in order on a transparent ground; coordinates are fractions of the height."""

    def __init__(self, height: int, width: int) -> None:
        self._size = height * SUPERSAMPLING
        self._image = Image.new("RGBA", (width * SUPERSAMPLING, self._size))
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: list[tuple[float, float]], colour: textures.Colour) -> None:
        scaled = [(float(x * self._size), float(y * self._size)) for x, y in points]
        self._draw.polygon(scaled, fill=self._ink(colour))

    def stem(self, points: np.ndarray, width: float, colour: textures.Colour) -> None:
        scaled = [(float(x), float(y)) for x, y in points * self._size]
        self._draw.line(scaled, fill=self._ink(colour), width=max(1, round(width * self._size)), joint="curve")

    def disc(self, x: float, y: float, radius: float, colour: textures.Colour) -> None:
        box = [(float((x - radius) * self._size), float((y - radius) * self._size))]
        box.append((float((x + radius) * self._size), float((y + radius) * self._size)))
        self._draw.ellipse(box, fill=self._ink(colour))

    def leaf(self, x: float, y: float, angle: float, length: float, colour: textures.Colour) -> None:
        along = np.linspace(0, 1, 7)
        bulge = 0.22 * np.sin(np.pi * along)
        u, v = np.concatenate([along, along[::-1]]), np.concatenate([bulge, -bulge[::-1]])
        tip = np.stack([np.sin(angle) * u + np.cos(angle) * v, -np.cos(angle) * u + np.sin(angle) * v], 1)
        self.polygon([(x + length * a, y + length * b) for a, b in tip], colour)

    def finish(self, rng: np.random.Generator) -> Cutout:
        # Reduced premultiplied (RGBa): a transparent pixel has no colour to lend to its neighbours.
        small = np.asarray(self._image.convert("RGBa").reduce(SUPERSAMPLING), np.float32) / 255
        alpha = small[..., 3]
        straight = small[..., :3] / np.maximum(alpha, np.float32(1 / 255))[..., None]
        light = (0.55 + 0.9 * textures.noise(rng, alpha.shape, 14)) * alpha
        return frozen(straight**2 * light[..., None], alpha)

    @staticmethod
    def _ink(colour: textures.Colour) -> tuple[int, int, int, int]:
        red, green, blue = (round(255 * min(max(channel, 0.0), 1.0) ** 0.5) for channel in colour)
        return red, green, blue, 255


def _leaf_colour(rng: np.random.Generator) -> textures.Colour:
    light = rng.uniform(0.25, 1.0)
    return 0.16 * light * rng.uniform(0.5, 1.6), 0.34 * light, 0.06 * light
