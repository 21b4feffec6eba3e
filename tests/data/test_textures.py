from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from lensblend.data import textures
from lensblend.errors import DataError


def test_photos_are_those_of_scikit_image() -> None:
    np.testing.assert_array_equal(textures.photo("astronaut.png"), skimage.data.astronaut())
    np.testing.assert_array_equal(textures.photo("brick.png")[..., 1], skimage.data.brick())


def test_photos_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        textures.photo("coffee.png")[0, 0] = 0


def test_missing_photo_names_the_remedy() -> None:
    with pytest.raises(DataError, match=r"data/lily.tif.*reinstall"):
        textures.shipped("lily.tif")


@pytest.mark.parametrize("shape", [(32, 48), (70, 33)])
def test_noise_fills_its_range(shape: tuple[int, int]) -> None:
    noise = textures.noise(np.random.default_rng(0), shape, 6)
    assert noise.shape == shape
    assert noise.min() == 0
    assert noise.max() == pytest.approx(1)


def test_noise_is_coarser_with_fewer_cells() -> None:
    rough, smooth = (textures.noise(np.random.default_rng(0), (64, 64), cells, 1) for cells in (32, 3))
    assert abs(np.diff(rough)).mean() > 4 * abs(np.diff(smooth)).mean()


@pytest.mark.parametrize("draw", [textures.wood, textures.fabric])
def test_surfaces_are_light_and_vary(draw: object) -> None:
    first, second = (draw(np.random.default_rng(seed), 96) for seed in (1, 2))  # type: ignore[operator]
    assert first.shape == (96, 96, 3)
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.std() > 0.02
    assert abs(first - second).mean() > 0.01


def test_resize_keeps_the_mean_and_never_rings_below_zero() -> None:
    image = np.zeros((40, 60, 1), np.float32)
    image[:, 30:] = 1
    small = textures.resize(image, 13, 17)
    assert small.shape == (13, 17, 1)
    assert small.min() >= 0
    assert small.mean() == pytest.approx(0.5, abs=0.02)


def test_colours_are_light() -> None:
    colours = np.array([textures.saturated(np.random.default_rng(seed)) for seed in range(200)])
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert np.ptp(colours.argmax(axis=1)) == 2
