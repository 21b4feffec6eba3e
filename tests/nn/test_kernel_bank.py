import copy
import io
import math
import pickle

import cv2
import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.nn import kernel_bank
from lensblend.nn.kernel_bank import KernelBank
from lensblend.ops.blending import blend

FAMILIES = ["gaussian", "box", "disk"]


@pytest.fixture
def photo():
    return torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(0))


def stds(bank):
    """Second moments along one axis, by a plain NumPy sum."""
    profiles = [kernel.numpy() if kernel.ndim == 1 else kernel.numpy().sum(axis=0) for kernel in bank.kernels]
    return [math.sqrt((p * (np.arange(len(p)) - len(p) // 2) ** 2).sum()) for p in profiles]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stack_is_the_photo_then_smallest_to_largest(family, photo):
    bank = KernelBank(family, [3, 9, 25])
    stack = bank(photo)
    assert stack.shape == (2, len(bank) + 1, 3, 48, 80)
    assert torch.equal(stack[:, 0], photo)
    contrasts = stack.std((-1, -2)).mean((0, 2))
    assert (contrasts.diff() < 0).all()
    assert stds(bank) == sorted(stds(bank))


def test_the_default_bank_equals_opencv(photo):
    stack = KernelBank()(photo)
    image = photo[0].permute(1, 2, 0).numpy()
    for index, kernel_size in enumerate([25, 45, 75], start=1):
        expected = cv2.GaussianBlur(image, (kernel_size, kernel_size), 0, borderType=cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(stack[0, index].permute(1, 2, 0).numpy(), expected, atol=5e-6)


@pytest.mark.parametrize("family", ["box", "disk"])
def test_box_and_disk_equal_opencvs_filters(family, photo):
    image = photo[0].permute(1, 2, 0).numpy()
    if family == "box":
        expected = cv2.blur(image, (9, 9), borderType=cv2.BORDER_REFLECT_101)
    else:
        kernel = KernelBank("disk", [9]).kernels[0].numpy()
        assert kernel.shape == (9, 9)
        expected = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    blurred = KernelBank(family, [9])(photo)[0, 1].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(blurred, expected, atol=5e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_hot_weights_reproduce_each_blur(family, photo):
    bank = KernelBank(family, [5, 25, 45])
    stack = bank(photo)
    for index in range(4):
        weights = torch.zeros(2, 4, 48, 80)
        weights[:, index] = 1
        torch.testing.assert_close(blend(stack, weights), bank.blur(photo, index), rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_constant_photo_stays_constant(family):
    photo = torch.full((1, 3, 40, 100), 0.7)
    weights = torch.randn(1, 4, 40, 100).softmax(1)
    assert (blend(KernelBank(family)(photo), weights) - 0.7).abs().max() < 1e-6


@pytest.mark.parametrize("family", ["box", "disk"])
def test_matched_variance_is_the_gaussians(family):
    assert stds(KernelBank(family, match="variance")) == pytest.approx([4.1, 7.1, 11.6], rel=1e-3)
    by_size = {"box": [math.sqrt((k * k - 1) / 12) for k in (25, 45, 75)], "disk": [6, 11, 18.5]}
    assert stds(KernelBank(family)) == pytest.approx(by_size[family], rel=2e-3)


@pytest.mark.parametrize("factor", [0.5, 4 / 3, 2])
@pytest.mark.parametrize("match", ["size", "variance"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scaling_widens_every_kernel_by_the_factor(family, match, factor):
    bank = KernelBank(family, match=match)
    scaled = bank.scaled(factor)
    assert stds(scaled) == pytest.approx([std * factor for std in stds(bank)], rel=0.015)
    assert scaled.scaled(1 / factor).scale == pytest.approx(1)
    assert scaled.names == bank.names


def test_scaling_keeps_sigma_exact_and_cuts_off_no_more():
    for kernel, sigma, radius in zip(KernelBank(scale=4 / 3).kernels, (4.1, 7.1, 11.6), (16, 30, 50), strict=True):
        assert len(kernel) == 2 * radius + 1
        # The ratio of neighbouring taps of a Gaussian gives sigma, wherever it is cut off.
        assert 1 / math.sqrt(2 * math.log(kernel[radius] / kernel[radius + 1])) == pytest.approx(sigma * 4 / 3)


def test_tiny_scales_leave_the_photo_alone(photo):
    for family in FAMILIES:
        stack = KernelBank(family, scale=0.01)(photo)
        assert (stack - photo[:, None]).abs().max() < 0.03


def test_sigma_rule_reaches_the_small_kernels():
    exact = KernelBank(sizes=[5, 25], sigma_rule="opencv_exact")
    np.testing.assert_allclose(exact.kernels[0].numpy() * 16, [1, 4, 6, 4, 1], atol=1e-12)
    assert exact.scaled(2).sigma_rule == "opencv_exact"
    assert not torch.equal(exact.kernels[0], KernelBank(sizes=[5, 25]).kernels[0])


def test_names_length_and_radius():
    bank = KernelBank("disk", [5, 25])
    assert len(bank) == 2
    assert bank.names == ["photo", "disk 5", "disk 25"]
    assert bank.radius == 12
    assert KernelBank(scale=2).radius == 74
    assert "gaussian, sizes=[25, 45, 75]" in str(KernelBank())


def test_the_bank_adds_nothing_to_a_checkpoint():
    bank = KernelBank()
    assert list(bank.parameters()) == list(bank.buffers()) == []
    assert bank.state_dict() == {}
    bank.load_state_dict({})


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_and_pickles_blur_alike(family, photo):
    bank = KernelBank(family, [5, 25])
    expected = bank(photo)
    file = io.BytesIO()
    torch.save(bank, file)
    file.seek(0)
    copies = [copy.deepcopy(bank), pickle.loads(pickle.dumps(bank)), torch.load(file, weights_only=False)]
    for other in [*copies, bank.half(), bank.double()]:
        assert torch.equal(other(photo), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_gives_float32(family, photo):
    bank = KernelBank(family, [5, 25])
    with torch.autocast("cpu", torch.bfloat16):
        stack = bank(photo)
    assert stack.dtype == torch.float32
    assert torch.equal(stack, bank(photo))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_photo(family, photo):
    photo.requires_grad_()
    KernelBank(family, [5, 25])(photo)[:, 1:].sum().backward()
    # Each photo pixel passes on its whole weight, but for what the mirrored border moves around.
    assert photo.grad.sum().item() == pytest.approx(2 * photo.numel(), rel=1e-5)
    inner = photo.grad[..., 13:-13, 13:-13]  # the largest radius is 12
    assert inner.numel() > 1000
    torch.testing.assert_close(inner, torch.full_like(inner, 2.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [25, 44]}, r"odd and at least 3, but got \[25, 44\]; use 43 or 45 instead of 44"),
        ({"sizes": [1, 25]}, r"got \[1, 25\]; use 3 instead of 1"),
        ({"sizes": []}, r"at least one kernel size, but got \[\]"),
        ({"sizes": [45, 25]}, r"strictly increasing, but got \[45, 25\]; use \[25, 45\]"),
        ({"sizes": [25, 25]}, r"got \[25, 25\]; use \[25\]"),
        ({"family": "disc"}, "gaussian, box, disk, but got 'disc'; did you mean 'disk'"),
        ({"match": "sigma"}, "size, variance, but got 'sigma'"),
        ({"sigma_rule": "opencv"}, "opencv_formula, opencv_exact, but got 'opencv'"),
        ({"scale": 0.0}, "`scale` is positive and finite, but got 0.0"),
        ({"scale": math.inf}, "`scale` is positive and finite, but got inf"),
    ],
)
def test_wrong_requests_are_named(options, message):
    with pytest.raises(RequestError, match=message):
        KernelBank(**options)


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_outside_the_stack_is_named(index, photo):
    with pytest.raises(RequestError, match=f"`index` is 0 .* to 3 .* but got {index}"):
        KernelBank().blur(photo, index)


def test_a_new_family_is_one_entry(monkeypatch):
    monkeypatch.setitem(kernel_bank.FAMILIES, "pair", lambda width: torch.tensor([1, *[0] * (width.size - 2), 1]) / 2)
    bank = KernelBank(family="pair", sizes=[3, 5])
    assert [kernel.tolist() for kernel in bank.kernels] == [[0.5, 0, 0.5], [0.5, 0, 0, 0, 0.5]]
    assert bank.scaled(2.0).names == ["photo", "pair 3", "pair 5"]
    with pytest.raises(RequestError, match="one of gaussian, box, disk, pair, but got 'pare'; did you mean 'pair'"):
        KernelBank(family="pare")


def test_kernels_follow_the_photo_by_the_mean_of_its_sides():
    bank = KernelBank(sizes=[5, 9])
    assert bank.at((96, 128), (96, 128)) is bank
    assert bank.at((96, 512), (96, 128)).scale == pytest.approx(2.0)


def test_a_bank_meant_for_photos_of_one_size_blurs_the_same_scene_alike_at_any():
    bank = KernelBank("disk", [13, 27], photo_size=(96, 144))
    photo = torch.rand(1, 3, 48, 72)
    half = KernelBank("disk", [13, 27], scale=0.5)
    torch.testing.assert_close(bank(photo), half(photo))
    torch.testing.assert_close(torch.stack([*bank.copies(photo)], dim=1), half(photo))
    torch.testing.assert_close(bank.blur(photo, 2), half(photo)[:, 2])
    torch.testing.assert_close(bank.scaled(2.0).at((48, 72), (32, 32))(photo), bank.at((96, 144), (32, 32))(photo))
    assert not torch.allclose(bank(photo)[:, 1], KernelBank("disk", [13, 27])(photo)[:, 1], atol=1e-3)


def test_a_photo_size_that_is_none_is_refused():
    with pytest.raises(RequestError, match="`photo_size` is"):
        KernelBank(photo_size=(0, 5))


def test_a_fast_bank_is_within_half_a_level_of_opencv_and_of_itself():
    photo = torch.rand(2, 3, 120, 170, generator=torch.Generator().manual_seed(0))
    bank = KernelBank(fast=True)
    stack = bank(photo)
    assert torch.equal(stack[:, 0], photo)
    image = photo[0].permute(1, 2, 0).numpy()
    for index, kernel_size in enumerate([25, 45, 75], start=1):
        expected = cv2.GaussianBlur(image, (kernel_size, kernel_size), 0, borderType=cv2.BORDER_REFLECT_101)
        blurred = stack[0, index].permute(1, 2, 0).numpy()
        assert 1e-5 < np.abs(blurred - expected).max() < 0.5 / 255
        assert torch.equal(bank.blur(photo, index), stack[:, index])


def test_a_fast_bank_says_how_far_it_looks_and_stays_fast_at_other_widths():
    bank, exact = KernelBank(fast=True), KernelBank()
    assert (exact.radius, exact.grid) == (37, 1)
    assert bank.radius == 37 + 2 * bank.grid
    assert (bank.scaled(2.0).fast, bank.at((96, 128), (48, 64)).fast, exact.quick().fast) == (True, True, True)
    assert (bank.scaled(2.0).grid, bank.scaled(0.1).grid) == (2 * bank.grid, 1)
    assert "fast" in repr(bank)
    assert "fast" not in repr(exact)


@pytest.mark.parametrize("family", ["box", "disk"])
def test_kernels_with_rims_are_not_fast(family):
    with pytest.raises(RequestError, match=f"`fast` blurs are Gaussian, but `family` is {family}"):
        KernelBank(family, fast=True)
