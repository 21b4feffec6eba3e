from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lensblend.errors import RequestError
from lensblend.metrics.fidelity import PSNR_LIMIT, Psnr, Ssim, SsimWang

EBB_SAMPLE = Path(__file__).parents[2] / "../shared/data/ebb-sample/Training"
METRICS = [Psnr, Ssim, SsimWang]
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
ORACLES = {
    Psnr: lambda x, y: peak_signal_noise_ratio(y, x, data_range=255),
    Ssim: lambda x, y: structural_similarity(x, y, channel_axis=2, data_range=255),
    SsimWang: lambda x, y: structural_similarity(x, y, channel_axis=2, data_range=255, **WANG),
}


def photo(*images: np.ndarray) -> torch.Tensor:
    """8-bit images as a batch in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def levels(image: np.ndarray) -> np.ndarray:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def make_pair(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two 8-bit images of odd and even sizes, from friendly to hostile to cancellation."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(11, 120, 2)
    rows, columns = np.mgrid[:height, :width][..., None]
    noise = rng.normal(size=(height, width, 3))
    x = {
        "noise": rng.uniform(0, 255, noise.shape),
        "bokeh": cv2.resize(data.astronaut(), (int(width), int(height)), interpolation=cv2.INTER_AREA).astype(float),
        "ramp": np.broadcast_to(120 + 100 * rows / height + 20 * columns / width, noise.shape),
        "white": np.full(noise.shape, 254.0),
        "black": np.full(noise.shape, 1.0),
        "halves": np.broadcast_to(255.0 * (columns > width // 2), noise.shape),
        "checkers": np.broadcast_to(255.0 * ((rows + columns) % 2), noise.shape),
    }[kind]
    y = {
        "bokeh": cv2.GaussianBlur(x, (0, 0), 2.0) + noise,
        "ramp": x + 2 * np.sin(columns / 5),
        "halves": 255 - 0.9 * x,
        "checkers": np.roll(x, seed % 2, axis=0) + 3 * noise,
    }.get(kind, x + (0.6 + seed) * noise)
    return levels(x), levels(y)


KINDS = ["noise", "bokeh", "ramp", "white", "black", "halves", "checkers"]
PAIRS = [(kind, seed) for kind in KINDS for seed in range(5)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("kind", "seed"), PAIRS)
def test_values_are_scikit_images(metric: type, kind: str, seed: int) -> None:
    x, y = make_pair(kind, seed)
    assert metric().per_image(photo(x), photo(y)).item() == pytest.approx(ORACLES[metric](x, y), abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_values_are_scikit_images_at_full_size(metric: type) -> None:
    x = cv2.resize(data.astronaut(), (1536, 1024), interpolation=cv2.INTER_CUBIC)
    y = levels(cv2.GaussianBlur(x, (25, 25), 4.1) + np.random.default_rng(0).normal(0, 1, x.shape))
    assert metric().per_image(photo(x), photo(y)).item() == pytest.approx(ORACLES[metric](x, y), abs=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(not EBB_SAMPLE.is_dir(), reason="needs the EBB! sample, which is not distributed")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["2977", "2978", "2979"])
def test_values_are_scikit_images_on_captured_pairs(metric: type, name: str) -> None:
    x, y = (cv2.imread(str(EBB_SAMPLE / kind / f"{name}.jpg"))[..., ::-1].copy() for kind in ("original", "bokeh"))
    assert metric().per_image(photo(x), photo(y)).item() == pytest.approx(ORACLES[metric](x, y), abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_renderings_are_scored_as_the_8_bit_file_they_would_become(metric: type) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    bokeh = target / 255 + rng.normal(0, 0.1, target.shape)  # between levels, and beyond the range
    saved = levels(bokeh.astype(np.float32) * np.float32(255))
    ours = metric().per_image(torch.from_numpy(bokeh).permute(2, 0, 1)[None].float(), photo(target))
    assert ours.item() == pytest.approx(ORACLES[metric](saved, target), abs=1e-9)


def test_less_than_half_a_level_is_no_difference() -> None:
    target = torch.full((1, 3, 16, 16), 100 / 255)
    assert Psnr().per_image(target + 0.49 / 255, target).item() == PSNR_LIMIT
    assert Psnr().per_image(target + 0.51 / 255, target).item() == pytest.approx(20 * np.log10(255), abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_the_metric_is_the_mean_of_images_whatever_the_batches(metric: type) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 256, (7, 16, 24, 3)).astype(np.uint8)
    bokehs = [levels(target + rng.normal(0, 3 + 9 * i, target.shape)) for i, target in enumerate(targets)]
    expected = np.mean([ORACLES[metric](x, y) for x, y in zip(bokehs, targets, strict=True)])
    for sizes in ([7], [1] * 7, [4, 3], [2, 5]):
        one = metric()
        for x, y in zip(photo(*bokehs).split(sizes), photo(*targets).split(sizes), strict=True):
            one.update(x, y)
        assert one.compute().item() == pytest.approx(expected, abs=1e-9), sizes


@pytest.mark.parametrize("metric", METRICS)
def test_processes_add_up_to_one(metric: type) -> None:
    """Torchmetrics merges states as it reduces them over processes; the shares are unequal on purpose."""
    torch.manual_seed(0)
    bokeh, target = torch.rand(2, 7, 3, 16, 16)
    whole, first, second = metric(), metric(), metric()
    whole.update(bokeh, target)
    first.update(bokeh[:5], target[:5])
    second.update(bokeh[5:], target[5:])
    first.merge_state(second)
    assert first.compute().item() == pytest.approx(whole.compute().item(), abs=1e-12)


def test_reset_forgets() -> None:
    metric = Psnr()
    metric.update(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8))
    metric.reset()
    metric.update(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2))
    assert metric.compute().item() == pytest.approx(20 * np.log10(5), abs=1e-9)


def test_psnr_is_not_that_of_the_pooled_error() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(60, 200, (2, 32, 32, 3)).astype(np.uint8)
    bokeh = np.stack([levels(target[0] + rng.normal(0, 1, target[0].shape)), levels(target[1] + 60.0)])
    metric = Psnr()
    metric.update(photo(*bokeh), photo(*target))
    pooled = peak_signal_noise_ratio(target, bokeh, data_range=255)
    each = [peak_signal_noise_ratio(y, x, data_range=255) for x, y in zip(bokeh, target, strict=True)]
    assert metric.compute().item() == pytest.approx(np.mean(each), abs=1e-9)
    assert metric.compute().item() > pooled + 10


def test_equal_photos_have_the_largest_psnr_and_ssim_one() -> None:
    image = make_pair("bokeh", 0)[0]
    assert Psnr().per_image(photo(image), photo(image)).item() == PSNR_LIMIT == 60
    for metric in (Ssim, SsimWang):
        assert metric().per_image(photo(image), photo(image)).item() == pytest.approx(1, abs=1e-15)


def test_psnr_is_skimages_up_to_its_limit_and_has_a_mean_whatever_the_pairs() -> None:
    target = np.zeros((32, 32, 3), np.uint8)
    for changed in (1, 32 * 3, 205, 204, 1, 0):
        other = target.copy()
        other.reshape(-1)[:changed] = 1
        with np.errstate(divide="ignore"):
            expected = min(peak_signal_noise_ratio(target, other, data_range=255), PSNR_LIMIT)
        assert Psnr().per_image(photo(other), photo(target)).item() == pytest.approx(expected, abs=1e-9)
    metric = Psnr()
    metric.update(photo(target, target + 51), photo(target, target))
    assert metric.compute().item() == pytest.approx((PSNR_LIMIT + 20 * np.log10(5)) / 2)


def test_a_nan_is_not_hidden() -> None:
    bokeh = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    target = bokeh.flip(0)
    bokeh[1, 0, 8, 8] = torch.nan
    for metric in METRICS:
        values = metric().per_image(bokeh, target)
        assert values.isnan().tolist() == [False, True]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(metric: type, dtype: torch.dtype) -> None:
    x, y = make_pair("ramp", 0)
    with torch.autocast("cpu", dtype=dtype):
        value = metric().per_image(photo(x), photo(y))
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(ORACLES[metric](x, y), abs=1e-9)


def test_photos_below_the_window_are_refused() -> None:
    small = torch.zeros(1, 3, 10, 40)
    with pytest.raises(RequestError, match=r"window of 11×11 pixels.*\(10, 40\)"):
        SsimWang().per_image(small, small)
    with pytest.raises(RequestError, match=r"window of 7×7 pixels.*\(6, 40\)"):
        Ssim().per_image(small[..., :6, :], small[..., :6, :])
    assert Ssim().per_image(small, small).item() == 1


def test_every_metric_has_a_name_of_its_own_and_a_direction() -> None:
    assert {metric.name: metric().higher_is_better for metric in METRICS} == {
        "psnr": True,
        "ssim": True,
        "ssim_wang": True,
    }
