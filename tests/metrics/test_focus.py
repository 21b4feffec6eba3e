import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_cdt
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lensblend.errors import RequestError
from lensblend.metrics.focus import Edges, PsnrIn, PsnrOut, SsimIn, SsimOut

METRICS = [PsnrIn, PsnrOut, SsimIn, SsimOut, Edges]


def photo(*images):
    """8-bit images as a batch in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def focus(*maps):
    return torch.from_numpy(np.stack(maps)).float()[:, None]


@pytest.fixture(scope="module")
def pair():
    """A rendering that is worse out of focus, its target, and where the target is in focus: a disc."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (40, 53, 3)).astype(np.uint8)
    rows, columns = np.mgrid[:40, :53]
    sharp = np.hypot(rows - 20, columns - 30) < 13
    noise = rng.normal(0, np.where(sharp, 4, 20)[..., None], target.shape)
    return np.clip(target + noise.round(), 0, 255).astype(np.uint8), target, sharp


def test_psnr_is_that_of_the_regions_pixels(pair):
    bokeh, target, sharp = pair
    for metric, where in ((PsnrIn, sharp), (PsnrOut, ~sharp)):
        expected = peak_signal_noise_ratio(target[where], bokeh[where], data_range=255)
        value = metric().per_image(photo(bokeh), photo(target), focus=focus(sharp))
        assert value.item() == pytest.approx(expected, abs=1e-9)


def test_ssim_is_the_mean_of_scikit_images_map_over_the_region(pair):
    bokeh, target, sharp = pair
    _, index = structural_similarity(target, bokeh, channel_axis=2, full=True)
    inner = np.s_[3:-3, 3:-3]
    for metric, where in ((SsimIn, sharp), (SsimOut, ~sharp)):
        value = metric().per_image(photo(bokeh), photo(target), focus=focus(sharp))
        assert value.item() == pytest.approx(index[inner][where[inner]].mean(), abs=1e-9)


def test_a_region_of_everything_has_the_value_of_the_whole(pair):
    bokeh, target, _ = pair
    for metric in (PsnrIn, SsimIn):
        whole = metric().score(*(255 * photo(image) for image in (bokeh, target))).item()
        value = metric().per_image(photo(bokeh), photo(target), focus=torch.ones(1, 1, 40, 53)).item()
        assert value == pytest.approx(whole, abs=1e-6)


def step(height, width, column, level):
    """Black to the left of a column, grey from it on."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, column:] = level
    return image


@pytest.mark.parametrize(
    ("size", "reach"),
    [((30, 40), 1), ((120, 150), 1), ((240, 300), 2)],
)
def test_edges_of_steps_are_as_computed_by_hand(size, reach):
    column = size[1] // 2
    target = step(*size, column, 80)
    sharp = focus(target[..., 0] > 0)
    ours = [step(*size, column, level) for level in (80, 0, 40)]
    # Sobel answers 4 x 80 in the two columns beside the step, which is 40 of levels per pixel; a band of 2 r columns.
    expected = [0, 2 * 40 / (2 * reach), 2 * 20 / (2 * reach)]
    values = Edges().per_image(photo(*ours), photo(*[target] * 3), focus=sharp.expand(3, -1, -1, -1))
    assert values.tolist() == pytest.approx(expected)
    # Brighter on both sides by as much: the same gradients.
    brighter = (target.astype(int) + 20).astype(np.uint8)
    assert Edges().per_image(photo(brighter), photo(target), focus=sharp).item() == 0
    # What lies farther from the outline than the band does not count.
    other = target.copy()
    other[:, : column - reach - 2] = 200
    assert Edges().per_image(photo(other), photo(target), focus=sharp).item() == 0


def test_edges_are_sobels_differences_within_the_band(pair):
    bokeh, target, _ = pair
    rows, columns = np.mgrid[:300, :320]
    sharp = np.hypot(rows - 140, columns - 170) < 90
    bokeh, target = (np.tile(image, (8, 7, 1))[:300, :320] for image in (bokeh, target))

    def slope(image):
        around = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
        part = {(i, j): around[i : i + 300, j : j + 320] for i in range(3) for j in range(3)}
        right = sum(w * (part[i, 2] - part[i, 0]) for i, w in enumerate((1, 2, 1)))
        down = sum(w * (part[2, j] - part[0, j]) for j, w in enumerate((1, 2, 1)))
        return np.hypot(right, down) / 8

    # Within 3 pixels, in rows and columns, of the other side.
    band = np.where(sharp, distance_transform_cdt(sharp), distance_transform_cdt(~sharp)) <= 3
    expected = np.abs(slope(bokeh) - slope(target))[band].mean()
    value = Edges().per_image(photo(bokeh), photo(target), focus=focus(sharp))
    assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_an_image_with_too_small_a_region_has_no_score_and_no_part_in_the_mean(metric, pair):
    bokeh, target, sharp = pair
    nothing, everything, few = np.zeros_like(sharp), np.ones_like(sharp), np.zeros_like(sharp)
    few[20, 5:25] = True  # 20 of 2120 pixels, less than 1 %; of the 34 x 47 that SSIM knows, more
    maps = focus(sharp, nothing, everything, few)
    one = metric()
    values = one.per_image(photo(*[bokeh] * 4), photo(*[target] * 4), focus=maps)
    lacks = {PsnrIn: [0, 1, 0, 1], SsimIn: [0, 1, 0, 0], Edges: [0, 1, 1, 1]}.get(metric, [0, 0, 1, 0])
    assert values.isnan().tolist() == [bool(lack) for lack in lacks]
    other = metric()
    one.update(photo(bokeh, bokeh), photo(target, target), focus=maps[:2])
    other.update(photo(bokeh, bokeh), photo(target, target), focus=maps[2:])
    one.merge_state(other)
    known = [value for value in values.tolist() if value == value]
    assert one.compute().item() == pytest.approx(np.mean(known), abs=1e-9)
    assert metric.mean_of(values.tolist()) == pytest.approx(np.mean(known), abs=1e-9)
    assert (metric.written(float("nan")), metric.in_file(float("nan"))) == ("–", "")


def test_without_any_region_the_mean_is_no_number_and_without_any_image_an_error(pair):
    bokeh, target, sharp = pair
    metric = PsnrIn()
    metric.update(photo(bokeh), photo(target), focus=focus(np.zeros_like(sharp)))
    assert np.isnan(metric.compute().item())
    metric.reset()
    with pytest.warns(UserWarning, match="before"), pytest.raises(RequestError, match="got none"):
        metric.compute()


@pytest.mark.parametrize("metric", METRICS)
def test_a_nan_of_a_rendering_is_not_taken_for_a_missing_region(metric, pair):
    bokeh, target, sharp = pair
    broken = photo(bokeh)
    broken[:] = torch.nan
    one = metric()
    one.update(broken, photo(target), focus=focus(sharp))
    assert np.isnan(one.compute().item())
    assert (one.count.item(), one.lacking.item()) == (1, 0)


def test_a_metric_without_its_map_says_what_it_needs(pair):
    bokeh, target, sharp = pair
    with pytest.raises(RequestError, match=r"`psnr_in` needs a map `focus` of the photos' size \(1, 1, 40, 53\).*none"):
        PsnrIn().per_image(photo(bokeh), photo(target))
    with pytest.raises(RequestError, match=r"got \(1, 1, 20, 53\)"):
        PsnrIn().per_image(photo(bokeh), photo(target), focus=focus(sharp[:20]))
