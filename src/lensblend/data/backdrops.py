"""What is far away in rendered scenes, and the ground that leads there. All in linear light."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from lensblend.data import textures
from lensblend.data.lens import linearise
from lensblend.data.textures import Grey, Radiance


def backdrop(rng: np.random.Generator, kind: str, height: int, width: int) -> Radiance:
    """Paint one of ``KINDS``; gardens, dusks and nights carry point highlights brighter than 1."""
    return KINDS[kind](rng, height, width)


def ground(rng: np.random.Generator, height: int, width: int, horizon: float, scale: float) -> Radiance:
    """Paint a receding plane below the horizon, as a camera above it sees it.

    Distance grows with the inverse of the row's distance to the horizon; each row takes the texture from a pyramid
    level coarse enough not to alias.

    Args:
        rng: Chooses the surface and where on it the camera stands.
        height: Of the frame, in pixels.
        width: Of the frame, in pixels.
        horizon: Row of the horizon, in pixels.
        scale: Texels of the surface per pixel at the bottom of the frame.
    """
    surface = _surface(rng)
    below = np.maximum(np.arange(height, dtype=np.float32) - np.float32(horizon), 0.5)
    distance = ((height - horizon) / below)[:, None]
    rows = np.broadcast_to(rng.uniform(0, 500) + distance * scale * (height - horizon), (height, width))
    columns = rng.uniform(0, 500) + (np.arange(width) - width / 2)[None, :] * distance * scale
    level = np.log2(np.maximum(distance**1.5 * scale, 1.0))
    return _sample_pyramid(surface, rows, columns, np.broadcast_to(level, (height, width)))


def _sample_pyramid(
    surface: Float32[np.ndarray, "side side 3"], rows: np.ndarray, columns: np.ndarray, level: np.ndarray
) -> Radiance:
    painted = np.zeros((*rows.shape, 3), np.float32)
    for step in range(7):
        share = np.clip(1 - abs(np.minimum(level, 6) - step), 0, None).astype(np.float32)
        used = np.flatnonzero(share.any(axis=1))
        if used.size:
            band = slice(used[0], used[-1] + 1)
            places = np.stack([rows[band], columns[band]]) / 2**step - 0.5
            for channel in range(3):
                texels = ndimage.map_coordinates(surface[..., channel], places, order=1, mode="reflect")
                painted[band, :, channel] += share[band] * texels
        surface = surface.reshape(surface.shape[0] // 2, 2, surface.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    return painted


def _surface(rng: np.random.Generator) -> Radiance:
    kind = rng.choice(["grass", "gravel", "brick", "wood"])
    if kind == "wood":
        return textures.wood(rng, 512).transpose(1, 0, 2).copy()
    dark, light = {
        "grass": ((0.01, 0.03, 0.005), (0.25, 0.42, 0.08)),
        "gravel": ((0.04, 0.035, 0.03), (0.55, 0.48, 0.4)),
        "brick": ((0.08, 0.03, 0.02), (0.5, 0.28, 0.2)),
    }[str(kind)]
    return textures.ramp(textures.grey(f"{kind}.png"), dark, light)


def _vertical(height: int, width: int, *colours: textures.Colour) -> Radiance:
    column = textures.ramp(np.linspace(0, 1, height, dtype=np.float32)[:, None], *colours)
    return np.broadcast_to(column, (height, width, 3)).copy()


def _add_lights(rng: np.random.Generator, scene: Radiance, count: int, top: float, bottom: float) -> Radiance:
    """Add small lights, so bright that each still shows as a disc when it is spread over one."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(count):
        row, column = rng.uniform(top, bottom) * height, rng.uniform(0, 1) * width
        radius = rng.uniform(0.003, 0.005) * width
        warm = rng.choice([0, 1, 2], p=[0.6, 0.25, 0.15])
        tint = np.array([(1, 0.62, 0.25), (1, 0.9, 0.75), (0.6, 0.8, 1)][warm], np.float32)
        cover = np.clip(radius + 0.5 - np.hypot(y - row, x - column), 0, 1)
        scene = scene + np.float32(rng.uniform(6, 18)) * cover[..., None] * tint
    return scene.astype(np.float32)


def _garden(rng: np.random.Generator, height: int, width: int) -> Radiance:
    shape = (height, width)
    leaves = textures.noise(rng, shape, 24, 5)
    masses = textures.noise(rng, shape, 4, 2)
    light = np.clip(0.9 * leaves**1.5 + 0.7 * masses - 0.3, 0, 1)
    scene = textures.ramp(light, (0.006, 0.015, 0.004), (0.06, 0.14, 0.02), (0.3, 0.45, 0.1), (0.9, 0.95, 0.6))
    return _add_lights(rng, scene, int(rng.integers(5, 25)), 0.0, 0.5)


def _silhouette(rng: np.random.Generator, height: int, width: int, base: float, relief: float) -> Grey:
    profile = textures.noise(rng, (2, width), 5, 6)[0]
    top = (base - relief * profile) * height
    return np.clip(np.arange(height, dtype=np.float32)[:, None] - top[None, :] + 0.5, 0, 1)


def _dusk(rng: np.random.Generator, height: int, width: int) -> Radiance:
    sky = _vertical(height, width, (0.05, 0.08, 0.22), (0.45, 0.25, 0.22), (0.9, 0.5, 0.2), (0.5, 0.3, 0.15))
    hills = _silhouette(rng, height, width, 0.55, 0.35)[..., None]
    trees = textures.ramp(textures.noise(rng, (height, width), 40, 4), (0.004, 0.005, 0.01), (0.06, 0.06, 0.07))
    return _add_lights(rng, sky * (1 - hills) + trees * hills, int(rng.integers(8, 30)), 0.25, 0.55)


def _night(rng: np.random.Generator, height: int, width: int) -> Radiance:
    scene = _vertical(height, width, (0.004, 0.006, 0.02), (0.02, 0.015, 0.03), (0.04, 0.03, 0.03))
    scene = _add_buildings(rng, scene, (0.01, 0.01, 0.015), lit=0.2, glow=1.6)
    return _add_lights(rng, scene, int(rng.integers(10, 35)), 0.1, 0.6)


def _street(rng: np.random.Generator, height: int, width: int) -> Radiance:
    clouds = textures.noise(rng, (height, width), 4, 5)[..., None]
    sky = _vertical(height, width, (0.16, 0.32, 0.75), (0.6, 0.75, 0.95), (0.7, 0.7, 0.7))
    wall = tuple(float(channel) for channel in rng.uniform(0.15, 0.6, 3))
    return _add_buildings(rng, (sky * (0.75 + 0.5 * clouds)).astype(np.float32), (wall[0], wall[1], wall[2]), 0.9, 0.06)


def _add_buildings(
    rng: np.random.Generator, scene: Radiance, wall: textures.Colour, lit: float, glow: float
) -> Radiance:
    height, width = scene.shape[:2]
    scene = scene.copy()
    left = 0
    while left < width:
        right = min(width, left + int(rng.uniform(0.1, 0.25) * width) + 1)
        top = int(rng.uniform(0.0, 0.35) * height)
        rows, columns = np.mgrid[: height - top, : right - left].astype(np.float32)
        pane = rng.uniform(0.03, 0.05) * width
        inside = ((rows / pane) % 1 > 0.35) & ((columns / pane) % 1 > 0.4)
        on = rng.random((int(height / pane) + 2, int(width / pane) + 2)) < lit
        window = (inside & on[(rows / pane).astype(int), (columns / pane).astype(int)])[..., None]
        facade = np.array(wall, np.float32) * np.float32(rng.uniform(0.4, 1.3))
        light = np.array([1.0, 0.75, 0.4] if glow > 1 else [1.0, 1.2, 1.5], np.float32) * np.float32(glow)
        scene[top:, left:right] = np.where(window, light, facade)
        left = right
    return scene


def _wall(rng: np.random.Generator, height: int, width: int) -> Radiance:
    side = max(height, width)
    if rng.random() < 0.5:
        name = str(rng.choice(["brick.png", "gravel.png"]))
        square = textures.crop(rng, textures.grey(name), int(rng.integers(256, 512)))
        dark = tuple(float(channel) for channel in rng.uniform(0.01, 0.1, 3))
        light = tuple(float(channel) for channel in rng.uniform(0.25, 0.7, 3))
        surface = textures.ramp(square, (dark[0], dark[1], dark[2]), (light[0], light[1], light[2]))
    else:
        surface = textures.fabric(rng, 256)
    shade = 0.5 + 0.8 * textures.noise(rng, (height, width), 2, 2)
    return textures.resize(surface, side, side)[:height, :width] * shade[..., None]


def _photo(rng: np.random.Generator, height: int, width: int) -> Radiance:
    name = str(rng.choice(["rocket.jpg", "hubble_deep_field.jpg"]))
    light = linearise(textures.photo(name))
    light = light * (1 + 30 * np.clip((light.min(axis=2, keepdims=True) - 0.7) / 0.3, 0, 1))
    zoom = rng.uniform(1.0, 1.6)
    tall, wide = light.shape[:2]
    size = min(tall, wide * height / width) / zoom
    top, left = rng.uniform(0, tall - size), rng.uniform(0, wide - size * width / height)
    part = light[int(top) : int(top + size), int(left) : int(left + size * width / height)]
    return textures.resize(part, height, width)


def shadow(height: int, width: int, row: float, column: float, reach: float) -> Float32[np.ndarray, "h w"]:
    """Return how much light a thing standing at a place of the ground leaves there: a soft ellipse below 1."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    away = ((y - row) / (0.22 * reach)) ** 2 + ((x - column) / reach) ** 2
    return (1 - 0.7 * np.exp(-away)).astype(np.float32)


KINDS = {"garden": _garden, "dusk": _dusk, "night": _night, "street": _street, "wall": _wall, "photo": _photo}
PHOTOGRAPHED = ("photo",)  # the others are drawn
