"""The renderer against loops that carry light from every source pixel, and against what a thin lens must do."""

from __future__ import annotations

import numpy as np
import pytest

from lensblend.data.camera import photograph
from lensblend.data.lens import Layer, Lens, develop, extent, linearise, pinhole, render

HEIGHT, WIDTH = 32, 40
SAMPLES = 99


def counted_disc(radius: float) -> np.ndarray:
    """Share of each pixel inside a disc, by counting sample points; the centre pixel if the disc lies inside it."""
    side = 2 * int(np.ceil(max(radius - 0.5, 0))) + 1
    fine = (np.arange(side * SAMPLES) + 0.5) / SAMPLES - side / 2
    inside = (fine[:, None] ** 2 + fine[None, :] ** 2 <= radius**2) if radius > 0.5 else np.ones((SAMPLES, SAMPLES))
    kernel = inside.astype(float).reshape(side, SAMPLES, side, SAMPLES).sum(axis=(1, 3))
    return kernel / kernel.sum()


def mirrored(position: int, length: int) -> int:
    """Fold a position outside 0..length-1 back at the border between pixels."""
    position %= 2 * length
    return position if position < length else 2 * length - 1 - position


def scatter(layers: list[Layer], lens: Lens) -> np.ndarray:
    """Carry the light of every pixel of every layer to where its disc falls; then lay layers over one another."""
    picture = np.zeros((HEIGHT, WIDTH, 3))
    for layer in layers:
        radius = 0.5 * lens.aperture * abs(float(layer.disparity[0, 0]) - lens.focus)
        disc = counted_disc(min(radius, lens.max_radius))
        reach = disc.shape[0] // 2
        light = np.zeros((HEIGHT + 4 * reach, WIDTH + 4 * reach, 4))
        for row in range(-reach, HEIGHT + reach):
            for column in range(-reach, WIDTH + reach):
                source = mirrored(row, HEIGHT), mirrored(column, WIDTH)
                value = np.append(layer.colour[source], layer.alpha[source])
                top, left = row + reach, column + reach
                light[top : top + 2 * reach + 1, left : left + 2 * reach + 1] += disc[..., None] * value
        light = light[2 * reach : 2 * reach + HEIGHT, 2 * reach : 2 * reach + WIDTH]
        picture = light[..., :3] + (1 - light[..., 3:]) * picture
    return picture


def gather(layer: Layer, lens: Lens) -> np.ndarray:
    """Average, at every pixel, over the disc of that pixel's own radius."""
    picture = np.zeros((HEIGHT, WIDTH, 3))
    for row in range(HEIGHT):
        for column in range(WIDTH):
            disc = counted_disc(0.5 * lens.aperture * abs(float(layer.disparity[row, column]) - lens.focus))
            reach = disc.shape[0] // 2
            rows = [mirrored(row + step, HEIGHT) for step in range(-reach, reach + 1)]
            columns = [mirrored(column + step, WIDTH) for step in range(-reach, reach + 1)]
            picture[row, column] = (disc[..., None] * layer.colour[np.ix_(rows, columns)]).sum(axis=(0, 1))
    return picture


def encode(light: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, in 8-bit levels, not rounded."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def opaque(colour: np.ndarray, disparity: float | np.ndarray) -> Layer:
    shape = colour.shape[:2]
    return Layer(
        colour.astype(np.float32),
        np.ones(shape, np.float32),
        np.broadcast_to(np.float32(disparity), shape).astype(np.float32),
    )


def thing(colour: np.ndarray, alpha: np.ndarray, disparity: float) -> Layer:
    return Layer(
        (colour * alpha[..., None]).astype(np.float32),
        alpha.astype(np.float32),
        np.full(alpha.shape, disparity, np.float32),
    )


@pytest.fixture
def layers() -> list[Layer]:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    far = opaque(rng.random((HEIGHT, WIDTH, 3)) ** 2, 0.1)
    far.colour[4, 30] = 30.0
    middle = thing(rng.random((HEIGHT, WIDTH, 3)), np.clip(9.3 - np.hypot(y - 14, x - 12), 0, 1), 0.5)
    near = thing(rng.random((HEIGHT, WIDTH, 3)), np.clip(x + 0.3 * y - 30.2, 0, 1), 0.9)
    return [far, middle, near]


@pytest.mark.parametrize("focus", [0.1, 0.5, 0.9, 0.37])
def test_render_agrees_with_scattered_light(layers: list[Layer], focus: float) -> None:
    lens = Lens(focus, aperture=13.0, max_radius=4.6)
    levels = abs(encode(render(layers, lens)) - encode(scatter(layers, lens)))
    assert levels.mean() < 0.02
    assert levels.max() < 0.5


def test_slanted_surface_agrees_with_gathered_light() -> None:
    rng = np.random.default_rng(2)
    slope = np.linspace(0, 1, HEIGHT)[:, None] + np.zeros(WIDTH)
    surface = opaque(rng.random((HEIGHT, WIDTH, 3)), slope)
    lens = Lens(focus=0.8, aperture=14.0)
    levels = abs(encode(render([surface], lens)) - encode(gather(surface, lens)))
    # The radius is interpolated between two discs a quarter of a pixel apart; white noise is the hardest case for it.
    assert levels.mean() < 0.25
    assert levels.max() < 5.0


def test_slanted_opaque_surface_stays_opaque() -> None:
    slope = np.linspace(0, 1, WIDTH)[None, :] + np.zeros((HEIGHT, 1))
    behind = opaque(np.zeros((HEIGHT, WIDTH, 3)), 0.0)
    surface = opaque(np.ones((HEIGHT, WIDTH, 3)), slope)
    np.testing.assert_allclose(render([behind, surface], Lens(0.3, 15.0)), 1, atol=1e-5)


def test_light_of_a_point_is_kept() -> None:
    scene = opaque(np.zeros((48, 48, 3)), 0.0)
    scene.colour[24, 24] = (50.0, 20.0, 5.0)
    for aperture in (2.0, 7.3, 20.0):
        light = render([scene], Lens(1.0, aperture)).sum(axis=(0, 1))
        np.testing.assert_allclose(light, (50.0, 20.0, 5.0), rtol=1e-4)


def test_blur_of_a_point_grows_linearly_with_the_disparity_difference() -> None:
    differences = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    axis = np.arange(64) - 32
    deviations = []
    for difference in differences:
        scene = opaque(np.zeros((64, 64, 3)), 1.0 - difference)
        scene.colour[32, 32] = 1.0
        profile = render([scene], Lens(1.0, aperture=40.0))[..., 0].sum(axis=0)
        deviations.append(np.sqrt(profile @ axis**2 / profile.sum() - 1 / 12))
    np.testing.assert_allclose(deviations, 0.5 * 20.0 * differences, rtol=0.01)


def test_scene_in_focus_stays_as_it_was() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    disparity = 0.5 + 0.049 * np.linspace(-1, 1, WIDTH)[None, :] * np.ones((HEIGHT, 1))
    pair = photograph("flat", [opaque(linearise(photo), disparity)], Lens(0.5, aperture=20.0))
    np.testing.assert_array_equal(pair.photo, photo)
    np.testing.assert_array_equal(pair.target, photo)
    assert pair.maps["mask"].all()


def test_layers_in_focus_stay_as_they_were(layers: list[Layer]) -> None:
    np.testing.assert_array_equal(render(layers, Lens(0.5, aperture=1.0)), pinhole(layers))


def test_near_edge_is_crisp_before_a_blurred_background() -> None:
    stripes = np.zeros((HEIGHT, WIDTH, 3))
    stripes[:, ::2] = 1.0
    edge = (np.arange(WIDTH) < 20) * np.ones((HEIGHT, 1))
    scene = [opaque(stripes, 0.0), thing(np.full((HEIGHT, WIDTH, 3), 0.2), edge, 1.0)]
    picture = render(scene, Lens(focus=1.0, aperture=12.0))
    np.testing.assert_array_equal(picture[:, :20], np.float32(0.2))
    # Nothing of the near surface reaches the background; what it hides is there, so the edge has no dark rim.
    np.testing.assert_allclose(picture[:, 20:34], 0.5, atol=0.02)


def test_blurred_near_edge_lets_the_background_through() -> None:
    edge = (np.arange(WIDTH) < 20) * np.ones((HEIGHT, 1))
    scene = [opaque(np.ones((HEIGHT, WIDTH, 3)), 0.0), thing(np.zeros((HEIGHT, WIDTH, 3)), edge, 1.0)]
    row = render(scene, Lens(focus=0.0, aperture=10.0))[16, :, 0]
    assert (row[:14] < 1e-5).all()
    assert (row[26:] > 1 - 1e-5).all()
    # The share of a disc of radius 5 on one side of a line at a distance: its area is a circular segment.
    distance = np.arange(WIDTH) - 19.5
    clipped = np.clip(distance / 5, -1, 1)
    share = 0.5 + (clipped * np.sqrt(1 - clipped**2) + np.arcsin(clipped)) / np.pi
    np.testing.assert_allclose(row, share, atol=0.01)


def test_highlight_becomes_a_disc() -> None:
    scene = opaque(np.full((64, 64, 3), 0.01), 0.0)
    scene.colour[32, 32] = 110.0  # 0.43 when spread: half of it is level 128, so pixels count if half covered
    pair = photograph("light", [scene], Lens(focus=1.0, aperture=18.0))
    assert (pair.photo.max(axis=2) > 128).sum() == 1
    bright = pair.target.max(axis=2) > 128
    assert bright.sum() == pytest.approx(np.pi * 9**2, rel=0.02)
    assert np.ptp(np.flatnonzero(bright.any(axis=0))) == pytest.approx(18, abs=1)
    assert np.ptp(pair.target[27:38, 27:38]) <= 1


def test_pair_knows_the_visible_disparity_and_what_is_in_focus(layers: list[Layer]) -> None:
    pair = photograph("three", layers, Lens(focus=0.5, aperture=13.0))
    expected = np.select([layers[2].alpha >= 0.5, layers[1].alpha >= 0.5], [0.9, 0.5], 0.1)
    np.testing.assert_allclose(pair.maps["disparity"], expected, rtol=1e-6)
    np.testing.assert_array_equal(pair.maps["mask"], expected == 0.5)


def test_mask_ends_where_a_disc_leaves_its_pixel() -> None:
    disparity = np.linspace(0, 1, WIDTH)[None, :] * np.ones((HEIGHT, 1))
    pair = photograph("ramp", [opaque(np.zeros((HEIGHT, WIDTH, 3)), disparity)], Lens(focus=0.4, aperture=9.0))
    np.testing.assert_array_equal(pair.maps["mask"], 4.5 * abs(disparity - 0.4) < 0.5)


def test_develop_rounds_the_srgb_curve() -> None:
    light = np.random.default_rng(1).random((50, 50, 3), np.float32) ** 3
    levels = develop(light)
    assert levels.dtype == np.uint8
    assert abs(levels - encode(light)).max() < 0.5001
    np.testing.assert_array_equal(develop(np.array([[[-1.0, 0.0, 7.0]]], np.float32)), [[[0, 0, 255]]])


def test_linearise_inverts_develop() -> None:
    photo = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_allclose(encode(linearise(photo)), photo, atol=1e-3)


def test_extent_holds_all_true_pixels() -> None:
    where = np.zeros((9, 12), bool)
    assert extent(where) == (slice(0, 0), slice(0, 0))
    where[2, 3] = where[5, 11] = True
    assert extent(where) == (slice(2, 6), slice(3, 12))
    assert extent(where, margin=3) == (slice(0, 9), slice(0, 12))


def test_empty_layer_changes_nothing(layers: list[Layer]) -> None:
    nothing = thing(np.ones((HEIGHT, WIDTH, 3)), np.zeros((HEIGHT, WIDTH)), 1.0)
    lens = Lens(0.1, 13.0)
    np.testing.assert_array_equal(render([*layers, nothing], lens), render(layers, lens))
