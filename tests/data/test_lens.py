"""The renderer against loops that carry light from every source pixel, and against what a thin lens must do."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lensblend.data.camera import SecondShot, photograph
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


def through_every_part(layers: list[Layer], lens: Lens, spacing: float) -> np.ndarray:
    """Average what a pinhole at each of many places of the lens sees: layers shifted by parallax, farthest first."""
    picture, count = np.zeros((HEIGHT, WIDTH, 3)), 0
    steps = np.arange(-1 + spacing / 2, 1, spacing)
    for down in steps:
        for right in steps:
            if np.hypot(down, right) > 1:
                continue
            seen = np.zeros((HEIGHT, WIDTH, 3))
            for layer in layers:
                shift = 0.5 * lens.aperture * (layer.disparity - lens.focus)
                # Where what is seen at a pixel came from: the shift there, looked up a few times.
                rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
                for _ in range(8):
                    moved = ndimage.map_coordinates(shift, [rows, columns], order=1, mode="reflect")
                    rows, columns = np.mgrid[:HEIGHT, :WIDTH] - moved * np.array([down, right])[:, None, None]
                found = [np.floor(place + 0.5).astype(int) for place in (rows, columns)]
                at = [np.vectorize(mirrored)(place, n) for place, n in zip(found, (HEIGHT, WIDTH), strict=True)]
                seen = layer.colour[at[0], at[1]] + (1 - layer.alpha[at[0], at[1]])[..., None] * seen
            picture, count = picture + seen, count + 1
    return picture / count


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


def test_scene_agrees_with_what_every_part_of_the_lens_sees() -> None:
    """A ground up to its horizon, lights on both, a thing whose foot stands on it: independent of discs altogether."""
    rng = np.random.default_rng(2)
    horizon, foot = 12, 22
    below = (np.arange(HEIGHT)[:, None] >= horizon) * np.ones(WIDTH, np.float32)
    depth = np.maximum(np.arange(HEIGHT)[:, None] - horizon, 0) / (HEIGHT - horizon) * np.ones(WIDTH)
    colour = ndimage.gaussian_filter(rng.random((HEIGHT, WIDTH, 3)), (1, 1, 0))
    for row, column in ((horizon - 1, 6), (horizon, 30), (foot, 18), (foot + 6, 8)):
        colour[row, column] = 8.0
    ground = opaque(colour, depth)
    upright = (abs(np.arange(WIDTH) - 18) < 4) * (
        (np.arange(HEIGHT)[:, None] < foot) & (np.arange(HEIGHT)[:, None] > 8)
    )
    tree = thing(0.2 + 0.3 * rng.random((HEIGHT, WIDTH, 3)), upright.astype(float), float(depth[foot, 0]))
    lens = Lens(focus=0.9, aperture=7.0)
    sky = thing(colour, 1 - below, 0.0)
    parts = [
        Layer(colour.astype(np.float32) * part[..., None], part, ground.disparity, joins=True)
        for part in split(below, foot)
    ]
    rendered = render([sky, parts[0], tree, parts[1]], lens)
    levels = abs(encode(rendered) - encode(through_every_part([ground, tree], lens, 0.08)))
    assert levels.mean() < 2.0
    assert np.quantile(levels, 0.99) < 14.0


def split(alpha: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    above = (np.arange(HEIGHT)[:, None] < row) * np.ones(WIDTH)
    return (alpha * above).astype(np.float32), (alpha * (1 - above)).astype(np.float32)


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


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.8])
def test_discs_are_cut_off_towards_the_corners_and_keep_their_light(strength: float, slope: float) -> None:
    """Two circles of one size, shifted against each other, have a lens in common: its area is known."""
    height, width, radius = 90, 120, 9.0
    slanted = slope * np.linspace(0, 1, width)[None] * np.ones((height, 1))
    shift, areas, widths = strength * 34 / 44.5, [], []  # of the circles against each other, in radii
    for row, column in ((45, 60), (45 - 34, 60 - 45)):  # the middle, and three quarters of the way to a corner
        scene = opaque(np.zeros((height, width, 3)), slanted)
        scene.colour[row, column] = (50.0, 20.0, 5.0)
        light = render([scene], Lens(1.0, 2 * radius / float(1 - slanted[row, column]), cats_eye=strength))
        np.testing.assert_allclose(light.sum(axis=(0, 1)), (50.0, 20.0, 5.0), rtol=0.02)
        lit = light[..., 0] > light[..., 0].max() / 2
        areas.append(lit.sum())
        down, right = (np.nonzero(lit)[axis] - centre for axis, centre in enumerate((row, column)))
        outwards = np.array([34.0, 45.0]) / np.hypot(34, 45)
        widths.append(
            (np.std(down * outwards[0] + right * outwards[1]), np.std(down * outwards[1] - right * outwards[0]))
        )
    half = shift / 2
    overlap = (2 * np.arccos(half) - 2 * half * np.sqrt(1 - half**2)) / np.pi
    # Shapes are mixed from those of neighbouring points of a grid, whose rims differ by some pixels.
    assert areas[0] == pytest.approx(np.pi * radius**2, rel=0.1)
    assert areas[1] == pytest.approx(overlap * np.pi * radius**2, rel=0.1)
    assert widths[0][0] == pytest.approx(widths[0][1], rel=0.03)
    if strength:
        assert widths[1][0] < (1 - shift / 4) * widths[0][0]
        assert widths[1][0] < (1 - shift / 4) * widths[1][1]


def test_an_even_surface_stays_even_and_opaque_under_discs_that_are_cut_off() -> None:
    behind = opaque(np.full((48, 72, 3), 1.0), 0.0)
    for far in (0.0, np.linspace(0, 0.4, 72)[None] * np.ones((48, 1))):
        surface = opaque(np.full((48, 72, 3), 0.25), far)
        np.testing.assert_allclose(render([behind, surface], Lens(1.0, 16.0, cats_eye=1.0)), 0.25, atol=1e-5)


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


@pytest.mark.parametrize("aperture", [4.0, 8.0])
def test_light_on_a_slope_is_kept_within_2_percent(aperture: float) -> None:
    """A ramp over 96 rows: the radius changes by up to a twenty-fourth of a pixel from pixel to pixel."""
    slope = (np.linspace(0, 1, 96)[:, None] * np.ones(96)).astype(np.float32)
    for row, focus in itertools.product(range(30, 66, 7), (0.0, 0.4, 1.0)):
        scene = opaque(np.zeros((96, 96, 3)), slope)
        scene.colour[row, 48] = 100.0
        assert render([scene], Lens(focus, aperture))[..., 0].sum() == pytest.approx(100, rel=0.02)


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


def test_layer_that_joins_hides_nothing_of_the_one_it_continues() -> None:
    above = (np.arange(HEIGHT)[:, None] < 14) * np.ones(WIDTH)
    far, near = (thing(np.zeros((HEIGHT, WIDTH, 3)), part, 0.0) for part in (above, 1 - above))
    far.colour[13, 20] = near.colour[14, 9] = 30.0
    joined, standing = (
        float(render([far, replace(near, joins=joins)], Lens(1.0, 9.0))[..., 0].sum()) for joins in (True, False)
    )
    assert joined == pytest.approx(60, rel=0.02)
    assert standing < 56


def test_second_shot_is_another_exposure_at_another_place() -> None:
    y, x = np.mgrid[:60, :80]
    light = np.repeat(0.2 * (1 + 0.5 * np.sin(x / 5) * np.cos(y / 7))[..., None], 3, axis=2).astype(np.float32)
    shot = SecondShot(gain=2**0.5, shift=(1 / 80, -2 / 80)).develop(light)
    expected = np.roll(develop(light * np.float32(2**0.5)), (1, -2), axis=(0, 1))
    np.testing.assert_array_equal(shot[3:-3, 3:-3], expected[3:-3, 3:-3])
    np.testing.assert_array_equal(SecondShot().develop(light), develop(light))
    half = SecondShot(shift=(0.0, 0.25 / 80)).develop(light).astype(float)
    moved = ndimage.shift(develop(light).astype(float), (0, 0.25, 0), order=3, mode="mirror")
    assert abs(half - moved)[3:-3, 3:-3].max() <= 2
