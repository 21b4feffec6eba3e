from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lensblend.data.lens import Layer, Lens, pinhole, render
from lensblend.data.slices import fill_holes, part_outlines, slice_photo

SHAPE = (40, 56)
MISSING = np.inf


@pytest.fixture
def disparity() -> np.ndarray:
    """A near disc before a slanted floor, noisy."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    floor = 0.1 + 0.5 * y / SHAPE[0] + 0.05 * np.random.default_rng(3).random(SHAPE)
    return np.where(np.hypot(y - 18, x - 25) < 11, 0.9, floor).astype(np.float32)


@pytest.mark.parametrize(
    ("row", "filled"),
    [
        ([3, MISSING, 1], [3, 1, 1]),
        ([1, MISSING, MISSING, 3], [1, 1, 1, 3]),
        ([MISSING, 2, MISSING], [2, 2, 2]),
        ([np.nan, 5, 4], [5, 5, 4]),
    ],
)
def test_holes_take_the_farther_neighbour(row: list[float], filled: list[float]) -> None:
    np.testing.assert_array_equal(fill_holes(np.array([row], np.float32)), [filled])


def test_row_without_measurement_takes_the_farthest_disparity() -> None:
    holes = np.array([[MISSING, MISSING], [4, 7]], np.float32)
    np.testing.assert_array_equal(fill_holes(holes), [[4, 4], [4, 7]])


@pytest.mark.parametrize("focus", [0.1, 0.4, 0.9])
def test_slices_without_blur_are_the_photo(disparity: np.ndarray, focus: float) -> None:
    photo = np.random.default_rng(0).random((*SHAPE, 3), np.float32)
    slices = slice_photo(photo, disparity, Lens(focus, aperture=20.0, max_radius=8.0))
    np.testing.assert_allclose(pinhole(slices), photo, atol=1e-5)


@pytest.mark.parametrize("focus", [0.1, 0.4, 0.9])
def test_flat_light_stays_flat(disparity: np.ndarray, focus: float) -> None:
    photo = np.full((*SHAPE, 3), 0.5, np.float32)
    lens = Lens(focus, aperture=20.0, max_radius=8.0)
    np.testing.assert_allclose(render(slice_photo(photo, disparity, lens), lens), 0.5, atol=1e-4)


def test_slices_are_ordered_and_keep_the_disparity(disparity: np.ndarray) -> None:
    lens = Lens(0.5, aperture=18.0)
    slices = slice_photo(np.zeros((*SHAPE, 3), np.float32), disparity, lens)
    values = [float(layer.disparity[0, 0]) for layer in slices]
    assert (np.diff(values) > -0.06).all()  # an outline's front and its back may lie between the same two slices
    coded = [
        replace(layer, colour=np.repeat((layer.alpha * layer.disparity)[..., None], 3, axis=2)) for layer in slices
    ]
    outline = part_outlines(np.zeros((*SHAPE, 3), np.float32), disparity).outline
    blurred = (9.0 * abs(disparity - 0.5) >= 0.5) & ~outline
    assert abs(pinhole(coded)[..., 0] - disparity)[blurred].max() < 1e-5


def test_what_is_in_focus_keeps_its_pixels(disparity: np.ndarray) -> None:
    photo = np.random.default_rng(0).random((*SHAPE, 3), np.float32)
    lens = Lens(0.9, aperture=20.0)
    near = ndimage.binary_erosion(disparity == np.float32(0.9), iterations=2)
    np.testing.assert_array_equal(render(slice_photo(photo, disparity, lens), lens)[near], photo[near])


def test_near_colour_does_not_leak_into_the_background(disparity: np.ndarray) -> None:
    near = disparity == np.float32(0.9)
    photo = np.where(near[..., None], (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)).astype(np.float32)
    lens = Lens(0.9, aperture=20.0)
    picture = render(slice_photo(photo, disparity, lens), lens)
    np.testing.assert_allclose(picture[~near], [[0, 0, 1]] * int((~near).sum()), atol=3e-3)


def test_background_is_seen_through_a_blurred_near_edge() -> None:
    near = np.arange(SHAPE[1])[None, :] + np.zeros((SHAPE[0], 1)) < 28
    photo = np.where(near[..., None], (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)).astype(np.float32)
    lens = Lens(0.2, aperture=16.0)
    picture = render(slice_photo(photo, np.where(near, 0.95, 0.2).astype(np.float32), lens), lens)
    # Radius 6: half-way at the edge, nothing beyond it; and no light is lost anywhere in between.
    np.testing.assert_allclose(picture.sum(axis=2), 1, atol=1e-4)
    assert 0.4 < picture[20, 27, 2] < 0.5 < picture[20, 28, 2] < 0.6
    np.testing.assert_allclose(picture[:, 34:, 2], 1, atol=1e-4)
    np.testing.assert_allclose(picture[:, :22, 0], 1, atol=1e-4)


def test_pinhole_needs_one_depth(disparity: np.ndarray) -> None:
    slices = slice_photo(np.zeros((*SHAPE, 3), np.float32), disparity, Lens(0.5, aperture=0.0))
    assert {float(layer.disparity[0, 0]) for layer in slices} == {0.5}


def outline_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dark slanted bar before a bright wall, its edge softened over a pixel, as a camera records it."""
    fine = np.mgrid[: 8 * SHAPE[0], : 8 * SHAPE[1]] / 8
    bar = (abs(fine[1] - 20 - 0.3 * fine[0]) < 6).astype(np.float32)
    alpha = ndimage.gaussian_filter(bar, 4).reshape(SHAPE[0], 8, SHAPE[1], 8).mean(axis=(1, 3))
    colour = alpha[..., None] * np.float32([0.05, 0.02, 0.02]) + (1 - alpha[..., None]) * np.float32([0.8, 0.7, 0.5])
    blocks = np.kron(alpha[::2, ::2], np.ones((2, 2)))  # a measured outline is no finer and does not lie exactly
    return colour.astype(np.float32), np.where(blocks > 0.5, 0.9, 0.2).astype(np.float32), alpha


@pytest.mark.parametrize("focus", [0.2, 0.9])
def test_outlines_are_as_soft_as_the_scene_whose_photo_was_cut(focus: float) -> None:
    """The true scene is known here: with its coverage, without a photo to guess from."""
    photo, disparity, alpha = outline_scene()
    wall = np.broadcast_to(np.float32([0.8, 0.7, 0.5]), photo.shape)
    bar = alpha[..., None] * np.float32([0.05, 0.02, 0.02])
    flat = np.ones(SHAPE, np.float32)
    true = [Layer(wall, flat, 0.2 * flat), Layer(bar.astype(np.float32), alpha.astype(np.float32), 0.9 * flat)]
    lens = Lens(focus, aperture=12.0)
    error = abs(np.sqrt(render(slice_photo(photo, disparity, lens), lens)) - np.sqrt(render(true, lens)))
    assert error.max() < 0.12
    assert error.mean() < 0.001


def test_light_on_a_receding_surface_is_kept() -> None:
    slope = np.linspace(0.1, 0.9, SHAPE[0], dtype=np.float32)[:, None] * np.ones((1, SHAPE[1]), np.float32)
    lens = Lens(0.9, aperture=3.0)
    for row in range(2, SHAPE[0], 4):
        photo = np.zeros((*SHAPE, 3), np.float32)
        photo[row, 25] = 9.0
        assert render(slice_photo(photo, slope, lens), lens)[..., 0].sum() == pytest.approx(9, rel=0.02)
