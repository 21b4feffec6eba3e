"""The thin lens for photos, against the renderer of the training pairs and against what light must do."""

import numpy as np
import pytest
from scipy import ndimage

from lensblend.data.camera import Camera
from lensblend.data.embedded import Embedded
from lensblend.data.lens import Layer, Lens, develop, pinhole, render
from lensblend.data.scattering import scatter
from lensblend.inference.firming import firmed
from lensblend.inference.refocusing import ThinLens, brightened, refocus
from lensblend.ops.apertures import Aperture

SIZE = (48, 72)


def two_planes(rng=0):
    """A textured disc before a textured wall, as layers."""
    height, width = SIZE
    rows, columns = np.mgrid[:height, :width]
    near = (np.hypot(rows - 24, columns - 36) < 13).astype(np.float32)
    noise = np.random.default_rng(rng).random((2, height, width, 3), np.float32)
    light = (4 * (ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0)) - 0.5) + 0.5).clip(0, 1) ** 2
    flat = np.ones(SIZE, np.float32)
    wall = Layer(light[0], flat, np.float32(0.1) * flat)
    disc = Layer(light[1] * near[..., None], near, np.float32(0.9) * flat)
    return [wall, disc], np.where(near > 0, 0.9, 0.1).astype(np.float32)


def psnr(first, second):
    return float(10 * np.log10(1 / np.mean((first.astype(float) - second) ** 2)))


@pytest.mark.parametrize("focus", [0.9, 0.1])
def test_it_renders_what_the_camera_of_the_training_pairs_sees(focus):
    layers, disparity = two_planes()
    lens = Lens(focus, 0.1 * SIZE[1])
    photo, target = (develop(image) / np.float32(255) for image in (pinhole(layers), render(layers, lens)))
    bokeh = refocus(photo, disparity, ThinLens(focus, 0.1))
    # Focused behind, what the disc hid shows at its blurred edge, and no photo tells it.
    assert psnr(bokeh, target) > psnr(photo, target) + (8 if focus == 0.9 else 3)


def test_true_disparity_of_embedded_pairs_gives_their_targets():
    pairs = Embedded(image_size=[96, 128], cache="", exposure=0.0, shift=0.0).split("val")
    gains = []
    for index in (0, 2, 5):
        pair = pairs.load(index)
        photo, target = pair.photo / np.float32(255), pair.target / np.float32(255)
        disparity = pair.maps["disparity"]
        focus = float(np.median(disparity[pair.maps["mask"]]))
        gains.append(psnr(refocus(photo, disparity, ThinLens(focus, Camera.aperture)), target) - psnr(photo, target))
    assert min(gains) > 5


def test_an_even_photo_stays_even_whatever_its_depth():
    rng = np.random.default_rng(0)
    disparity = ndimage.gaussian_filter(rng.random(SIZE, np.float32), 3)
    disparity = (disparity - disparity.min()) / np.ptp(disparity) + 0.3 * (rng.random(SIZE) > 0.97)
    photo = np.full((*SIZE, 3), 0.6, np.float32)
    for shape in (Aperture(), Aperture(5, 10.0, 0.7)):
        bokeh = refocus(photo, disparity.astype(np.float32), ThinLens(0.5, 0.2, shape))
        np.testing.assert_allclose(bokeh, 0.6, atol=2e-3)


def test_a_bright_wall_does_not_shine_through_an_uneven_surface():
    """Discs of several sizes beside one another leave gaps, which the surface itself fills."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    near = rows > 20
    disparity = np.where(near, 0.6 + 0.05 * (columns // 2 % 2), 0.0).astype(np.float32)
    photo = np.where(near[..., None], 0.1, 1.0).astype(np.float32) * np.ones(3, np.float32)
    bokeh = refocus(photo, disparity, ThinLens(0.7, 0.2, highlights=30.0))
    assert bokeh[24:].max() < 0.11


def test_light_of_a_point_spreads_over_the_shape_and_none_is_lost():
    photo = np.zeros((*SIZE, 3), np.float32)
    photo[10, 60] = 1
    for shape in (Aperture(), Aperture(6), Aperture(cats_eye=0.9)):
        planes = np.concatenate([photo.transpose(2, 0, 1), np.ones((1, *SIZE), np.float32)])
        whole = slice(0, SIZE[0]), slice(0, SIZE[1])
        spread = scatter(planes, *whole, 5.0, shape, before=False)
        assert spread[0].sum() == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(spread[3], 1, atol=0.04)
    rows, columns = np.nonzero(spread[0] > 0.2 * spread[0].max())
    assert len(rows) < 0.9 * np.pi * 25
    # The corner lies up and to the right, and there the disc is narrow.
    assert (rows - columns).std() < 0.87 * (rows + columns).std()


def test_highlights_are_white_before_they_are_bright():
    light = np.float32([[[1, 1, 1], [1, 0.1, 0.1], [0.5, 0.5, 0.5]]])
    np.testing.assert_allclose(brightened(light, 4.0)[0], [[5, 5, 5], [1, 0.1, 0.1], [0.5, 0.5, 0.5]])


def test_what_is_kept_is_kept_and_colours_nothing():
    rng = np.random.default_rng(0)
    photo = rng.random((*SIZE, 3), np.float32)
    kept = np.zeros(SIZE, np.float32)
    kept[12:36, 20:50] = 1
    lens = ThinLens(1.0, 0.2)
    first = refocus(photo, np.zeros(SIZE, np.float32), lens, kept)
    np.testing.assert_allclose(first[kept == 1], photo[kept == 1], atol=1e-5)
    other = np.where(kept[..., None] == 1, rng.random((*SIZE, 3), np.float32), photo)
    second = refocus(other, np.zeros(SIZE, np.float32), lens, kept)
    np.testing.assert_array_equal(first[kept == 0], second[kept == 0])
    assert np.abs(np.diff(first[:10], axis=1)).mean() < 0.3 * np.abs(np.diff(photo[:10], axis=1)).mean()


def test_a_soft_edge_keeps_its_share_of_the_subject():
    """Half of a subject of one colour over a wall of another stays half of each."""
    photo = np.zeros((*SIZE, 3), np.float32)
    photo[:, :36], photo[:, 36:] = (1, 0, 0), (0, 0, 1)
    photo[:, 36] = (0.735357, 0, 0.735357)  # half of the light of each
    kept = np.zeros(SIZE, np.float32)
    kept[:, :36], kept[:, 36] = 1, 0.5
    bokeh = refocus(photo, np.zeros(SIZE, np.float32), ThinLens(1.0, 0.1), kept)
    np.testing.assert_allclose(bokeh, photo, atol=2e-3)


def test_dark_hair_that_a_mask_leaves_out_does_not_turn_black():
    photo = np.ones((*SIZE, 3), np.float32)
    photo[:, :36] = 0.02
    kept = np.zeros(SIZE, np.float32)
    kept[:, :30] = 1
    kept[:, 30:36] = 0.3
    bokeh = refocus(photo, np.zeros(SIZE, np.float32), ThinLens(1.0, 0.3), kept)
    assert bokeh[:, 30:36].min() > 0.1


def test_slopes_of_enlarged_maps_become_steps_and_gentle_ones_stay():
    step = np.zeros((24, 32), np.float32)
    step[:, 16:] = 0.8
    soft = ndimage.zoom(step, 3, order=1)
    firm, edge = firmed(soft)
    assert np.minimum(firm, abs(firm - 0.8)).max() < 0.01
    assert np.minimum(soft, abs(soft - 0.8)).max() > 0.25
    assert 1 <= edge <= 4
    ramp = np.tile(np.linspace(0, 0.9, 96, dtype=np.float32), (72, 1))
    np.testing.assert_array_equal(firmed(ramp)[0], ramp)


def test_progress_rises_to_one():
    layers, disparity = two_planes()
    told = []
    refocus(develop(pinhole(layers)) / np.float32(255), disparity, ThinLens(0.9, 0.2), advance=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 5
