"""Local filters against SciPy where all kernels are alike, and against plain loops where they are not."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lensblend.errors import RequestError
from lensblend.ops.filtering import filter_locally

PADDINGS = [("replicate", "nearest", "edge"), ("zero", "constant", "constant")]  # ours, SciPy's, NumPy's


def noise(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def one_by_one(image, kernels, mode):
    batch, channels, height, width = image.shape
    size = round(kernels.shape[1] ** 0.5)
    radius = size // 2
    padded = np.pad(image, ((0, 0), (0, 0), (radius, radius), (radius, radius)), mode=mode)
    result = np.empty_like(image)
    for b, c, y, x in np.ndindex(batch, channels, height, width):
        result[b, c, y, x] = (padded[b, c, y : y + size, x : x + size] * kernels[b, :, y, x].reshape(size, size)).sum()
    return result


@pytest.mark.parametrize(("padding", "mode"), [(ours, scipys) for ours, scipys, _ in PADDINGS])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_one_kernel_for_all_pixels_is_scipys_correlation(padding, mode, size):
    image, kernel = noise(2, 3, 13, 10), noise(size, size)
    kernels = np.broadcast_to(kernel.reshape(1, -1, 1, 1), (2, size**2, 13, 10)).copy()
    result = filter_locally(torch.from_numpy(image), torch.from_numpy(kernels), padding)
    expected = ndimage.correlate(image, kernel[None, None], mode=mode)
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("padding", "mode"), [(ours, numpys) for ours, _, numpys in PADDINGS])
def test_every_pixel_of_every_photo_has_its_own_kernel(padding, mode):
    image, kernels = noise(2, 3, 6, 5), noise(2, 25, 6, 5)
    result = filter_locally(torch.from_numpy(image), torch.from_numpy(kernels), padding)
    np.testing.assert_allclose(result.numpy(), one_by_one(image, kernels, mode), rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["replicate", "zero"])
def test_kernels_may_be_larger_than_the_image(padding):
    image, kernels = noise(1, 2, 2, 3), noise(1, 81, 2, 3)
    expected = one_by_one(image, kernels, "edge" if padding == "replicate" else "constant")
    result = filter_locally(torch.from_numpy(image), torch.from_numpy(kernels), padding)
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["replicate", "zero"])
def test_gradients_reach_image_and_kernels(padding):
    image = torch.from_numpy(noise(2, 2, 4, 3)).requires_grad_()
    kernels = torch.from_numpy(noise(2, 9, 4, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, k: filter_locally(i, k, padding), (image, kernels))


def test_training_keeps_no_copy_per_tap():
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    image = torch.rand(1, 3, 40, 40, requires_grad=True)
    kernels = torch.rand(1, 49, 40, 40, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        filter_locally(image, kernels, "replicate")
    padded, *others = 3 * 46 * 46, 49 * 40 * 40, 3 * 40 * 40
    assert sum(kept.values()) <= 4 * (padded + sum(others))


def test_half_precision_is_raised():
    image, kernels = torch.rand(1, 3, 8, 8).bfloat16(), torch.rand(1, 9, 8, 8).bfloat16()
    expected = filter_locally(image.float(), kernels.float(), "zero")
    assert torch.equal(filter_locally(image, kernels, "zero"), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(filter_locally(image.float(), kernels, "zero"), expected)


def test_gradients_are_added_up_in_single_precision():
    image, kernels = torch.rand(1, 3, 9, 9).bfloat16().requires_grad_(), torch.rand(1, 49, 9, 9)
    filter_locally(image, kernels, "zero").sum().backward()
    raised = image.detach().float().requires_grad_()
    filter_locally(raised, kernels, "zero").sum().backward()
    assert torch.equal(image.grad, raised.grad.bfloat16())


def test_another_padding_is_refused():
    with pytest.raises(RequestError, match="one of replicate, zero, but got 'reflect'"):
        filter_locally(torch.rand(1, 3, 5, 5), torch.rand(1, 9, 5, 5), "reflect")


@pytest.mark.parametrize("count", [4, 8, 16, 50])
def test_other_numbers_of_values_are_refused(count):
    with pytest.raises(RequestError, match=f"with an odd K, such as 9, 25 or 49, but got {count}"):
        filter_locally(torch.rand(1, 3, 5, 5), torch.rand(1, count, 5, 5), "zero")
