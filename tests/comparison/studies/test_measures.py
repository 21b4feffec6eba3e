import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import color, filters

from lensblend.comparison.studies.measures import detail, measure, regions, relative_detail, weights_by_depth
from lensblend.data.pairs import Pair

RANDOM = np.random.default_rng(0)
HEIGHT, WIDTH = 60, 80


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def left_half():
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[:, : WIDTH // 2] = True
    return mask


def pair(photo=None, target=None, disparity=None, mask=None):
    photo = noise() if photo is None else photo
    maps = {"disparity": disparity, "mask": mask}
    known = {name: plane for name, plane in maps.items() if plane is not None}
    return Pair("a", photo, photo if target is None else target, known)


def flat(picture):
    """The picture's mean colour everywhere."""
    return np.broadcast_to(picture.mean(axis=(0, 1)).astype(np.uint8), picture.shape).copy()


def test_each_fifth_is_a_fifth_of_the_pixels_and_the_nearest_comes_first():
    disparity = RANDOM.permutation(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.float32)
    weights = RANDOM.random((3, HEIGHT, WIDTH))
    fifths = weights_by_depth(weights, disparity)
    edges = HEIGHT * WIDTH * np.arange(5, -1, -1) / 5
    for place in range(5):
        chosen = (disparity < edges[place]) & (disparity >= edges[place + 1])
        assert fifths[:, place] == pytest.approx(weights[:, chosen].mean(axis=1))


def test_weights_that_follow_the_disparity_fall_from_near_to_far():
    disparity = np.linspace(0, 1, 50).reshape(5, 10)
    # The nearest fifth is 0.8 to 1: the mean of its ten values is 40 to 49 of 49.
    expected = [np.arange(10 * k, 10 * k + 10).mean() / 49 for k in (4, 3, 2, 1, 0)]
    assert weights_by_depth(disparity[None], disparity)[0] == pytest.approx(expected)


def test_pixels_of_one_surface_count_alike_wherever_they_lie():
    # The wall is 70 % of the image, half of it white: its mean, not its first pixels, goes into each far fifth.
    disparity = np.where(np.arange(100) < 30, 2.0, 1.0)[None]
    weight = np.concatenate([np.ones(30), np.ones(35), np.zeros(35)])[None]
    for turned in (1, -1):
        fifths = weights_by_depth(weight[None, :, ::turned], disparity[:, ::turned])[0]
        assert fifths == pytest.approx([1, 0.75, 0.5, 0.5, 0.5])


def test_detail_is_the_gradient_magnitude_that_scikit_image_finds():
    picture = noise()
    # scikit-image divides by 4 and by the root of 2, and weighs colours by BT.709 unless told; its border differs.
    grey = picture.astype(np.float64) @ [0.299, 0.587, 0.114] / 255
    expected = filters.sobel(grey) * 4 * np.sqrt(2)
    assert detail(picture)[1:-1, 1:-1] == pytest.approx(expected[1:-1, 1:-1], abs=1e-5)
    assert color.rgb2gray(picture).mean() != pytest.approx(grey.mean(), abs=1e-4)


@pytest.mark.parametrize(("size", "margin"), [((60, 80), 2), ((400, 500), 4)])
def test_regions_keep_away_from_the_outline_but_not_from_the_border(size, margin):
    mask = np.zeros(size, dtype=np.bool_)
    middle = size[1] // 2
    mask[:, :middle] = True
    inside, outside = regions(mask)
    columns = np.arange(size[1])
    assert (inside == (columns < middle - margin)).all()
    assert (outside == (columns >= middle + margin)).all()


def test_the_photo_is_as_sharp_as_itself_and_a_flat_picture_is_not_sharp():
    inside, _ = regions(left_half())
    assert relative_detail(noise(), noise(), inside) == 1
    assert relative_detail(flat(noise()), noise(), inside) == 0
    assert np.isnan(relative_detail(noise(), flat(noise()), inside))
    assert np.isnan(relative_detail(noise(), noise(), np.zeros_like(inside)))


def test_half_the_contrast_is_half_as_sharp():
    photo = noise() // 2 * 2
    inside, _ = regions(left_half())
    assert relative_detail(photo // 2, photo, inside) == pytest.approx(0.5, abs=1e-6)


def test_sharpness_is_told_apart_in_and_out_of_focus():
    photo, mask = noise(), left_half()
    blurred = ndimage.gaussian_filter(photo, (3, 3, 0))
    target = np.where(mask[..., None], photo, blurred)
    measured = measure(pair(photo, target, mask=mask), np.where(mask[..., None], blurred, photo), None)
    assert measured["target_sharpness_focus"] == pytest.approx(1)
    assert measured["target_sharpness_background"] < 0.2
    assert measured["sharpness_focus"] < 0.2
    assert measured["sharpness_background"] == pytest.approx(1)


def test_the_photos_weight_is_measured_inside_and_outside_the_mask():
    mask = left_half()
    sharp = torch.from_numpy(np.where(mask, 0.75, 0.25)).float()
    measured = measure(pair(mask=mask), noise(), torch.stack([sharp, 1 - sharp]))
    assert (measured["w0_focus"], measured["w0_background"]) == pytest.approx((0.75, 0.25))


def test_weights_of_the_networks_size_are_enlarged_to_the_photos():
    disparity = np.repeat(np.linspace(1, 0, WIDTH, dtype=np.float32)[None], HEIGHT, axis=0)
    small = torch.linspace(1, 0, WIDTH // 4)[None, None].expand(1, HEIGHT // 4, WIDTH // 4)
    measured = measure(pair(disparity=disparity), noise(), torch.cat([small, 1 - small]))
    # Bilinear between pixel centres keeps a ramp a ramp, but for the half of a coarse pixel at either border.
    assert [measured[f"w0_fifth{j}"] for j in (2, 3, 4)] == pytest.approx([0.71, 0.5, 0.29], abs=0.02)
    assert all(measured[f"w0_fifth{j}"] + measured[f"w1_fifth{j}"] == pytest.approx(1) for j in range(1, 6))


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"disparity": np.ones((HEIGHT, WIDTH), np.float32), "mask": np.ones((HEIGHT, WIDTH), np.bool_)},
        {"disparity": np.full((HEIGHT, WIDTH), np.nan, np.float32), "mask": np.zeros((HEIGHT, WIDTH), np.bool_)},
    ],
)
def test_what_a_pair_does_not_tell_is_not_measured_but_has_its_name(known):
    weights = torch.full((2, HEIGHT, WIDTH), 0.5)
    measured = measure(pair(**known), noise(), weights)
    assert len(measured) == 2 * 5 + 2 + 4
    assert all(np.isnan(value) for value in measured.values())


def test_a_network_without_weights_has_its_sharpness_only():
    measured = measure(pair(mask=left_half()), noise(), None)
    assert set(measured) == {f"{of}sharpness_{at}" for of in ("", "target_") for at in ("focus", "background")}
