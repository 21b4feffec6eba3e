import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from lensblend.errors import RequestError
from lensblend.ops import kernels
from lensblend.ops.banded import cached_band
from lensblend.ops.blur import blur, blur_stack, clear_cache
from lensblend.ops.fourier import cached_spectrum

LEVEL = 1 / 255
KERNELS = {
    "gaussian": kernels.gaussian_kernel(25),
    "box": kernels.box_kernel(23.5),
    "disk": kernels.disk_kernel(12),
}
SIZES = [(64, 96), (97, 51), (13, 200), (129, 14), (40, 40)]


def photo_of(size, dtype=torch.float64, seed=0, batch=1):
    return torch.rand(batch, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def scipy_blur(photo, kernel, modes=("mirror", "mirror")):
    """Direct convolution in float64, plane by plane; SciPy's "mirror" is reflect-101, "nearest" replicates."""
    kernel, planes = kernel.numpy(), photo.double().numpy()
    if kernel.ndim == 1:
        columns = ndimage.convolve1d(planes, kernel, axis=-2, mode=modes[0])
        return ndimage.convolve1d(columns, kernel, axis=-1, mode=modes[1])
    radius = len(kernel) // 2
    numpy_modes = [{"mirror": "reflect", "nearest": "edge"}[mode] for mode in modes]
    planes = np.pad(planes, [(0, 0), (0, 0), (radius, radius), (0, 0)], mode=numpy_modes[0])
    planes = np.pad(planes, [(0, 0), (0, 0), (0, 0), (radius, radius)], mode=numpy_modes[1])
    blurred = ndimage.convolve(planes, kernel[None, None], mode="constant")
    return blurred[..., radius:-radius, radius:-radius]


def difference(blurred, expected):
    return np.abs(blurred.double().numpy() - expected).max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", KERNELS)
def test_float64_equals_scipy(family, size):
    photo, kernel = photo_of(size), KERNELS[family]
    blurred = blur(photo, kernel)
    assert blurred.dtype == torch.float64
    assert difference(blurred, scipy_blur(photo, kernel)) < 1e-12


@pytest.mark.parametrize("size", [(192, 256), (97, 131)])
@pytest.mark.parametrize("family", KERNELS)
def test_float32_is_within_a_five_thousandth_level_of_scipy(family, size):
    photo, kernel = photo_of(size, torch.float32), KERNELS[family]
    assert difference(blur(photo, kernel), scipy_blur(photo, kernel)) < 2e-4 * LEVEL


@pytest.mark.parametrize("kernel_size", [25, 45, 75])
def test_gaussian_equals_opencv(kernel_size):
    photo = photo_of((100, 140), torch.float32)
    expected = cv2.GaussianBlur(
        photo[0].permute(1, 2, 0).numpy(), (kernel_size, kernel_size), 0, borderType=cv2.BORDER_REFLECT_101
    )
    blurred = blur(photo, kernels.gaussian_kernel(kernel_size))[0].permute(1, 2, 0)
    assert difference(blurred, expected) < 5e-6


@pytest.mark.parametrize("family", KERNELS)
@pytest.mark.parametrize(
    ("size", "modes"),
    [
        ((13, 13), ("mirror", "mirror")),
        ((12, 13), ("nearest", "mirror")),
        ((13, 12), ("mirror", "nearest")),
        ((5, 7), ("nearest", "nearest")),
        ((1, 1), ("nearest", "nearest")),
    ],
)
def test_short_sides_repeat_the_edge(family, size, modes):
    photo, kernel = photo_of(size), KERNELS[family]
    assert len(kernel) == 25
    assert difference(blur(photo, kernel), scipy_blur(photo, kernel, modes)) < 1e-12


def test_replicated_border_equals_opencv():
    photo, kernel = photo_of((8, 9), torch.float32), kernels.gaussian_kernel(45)
    expected = cv2.GaussianBlur(photo[0].permute(1, 2, 0).numpy(), (45, 45), 7.1, borderType=cv2.BORDER_REPLICATE)
    assert difference(blur(photo, kernel)[0].permute(1, 2, 0), expected) < 5e-6


def test_a_stack_mixes_kernels_and_borders():
    photo = photo_of((20, 30), batch=2)
    chosen = [kernels.disk_kernel(3), kernels.gaussian_kernel(9), kernels.disk_kernel(25), kernels.disk_kernel(6.5)]
    modes = [("mirror",) * 2, ("mirror",) * 2, ("nearest", "mirror"), ("mirror",) * 2]
    stack = blur_stack(photo, chosen)
    assert stack.shape == (2, 5, 3, 20, 30)
    assert torch.equal(stack[:, 0], photo)
    for index, (kernel, mode) in enumerate(zip(chosen, modes, strict=True), start=1):
        assert difference(stack[:, index], scipy_blur(photo, kernel, mode)) < 1e-12


@pytest.mark.parametrize("family", KERNELS)
@pytest.mark.parametrize("size", [(70, 150), (9, 90)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_photo_stays_constant(family, size, value):
    photo = torch.full((1, 3, *size), value)
    assert (blur(photo, KERNELS[family]) - value).abs().max() < 1e-6


@pytest.mark.parametrize("family", KERNELS)
def test_the_range_never_grows(family):
    photo = photo_of((150, 170), torch.float32).round()  # zeros and ones only
    photo[..., :60, :60] = 1
    blurred = blur(photo, KERNELS[family])
    assert blurred.min() > -1e-6
    assert blurred.max() < 1 + 1e-6


@pytest.mark.parametrize("family", KERNELS)
def test_gradients_are_right(family):
    kernel = kernels.disk_kernel(2.0) if family == "disk" else kernels.gaussian_kernel(5)
    for size in [(4, 6), (2, 70)]:
        photo = photo_of(size)[:, :1].requires_grad_()
        assert torch.autograd.gradcheck(lambda photo: blur(photo, kernel), (photo,), fast_mode=True)


@pytest.mark.parametrize("family", KERNELS)
def test_the_gradient_is_the_transposed_blur(family):
    """The blur is linear: <blur(a), b> = <a, gradient of blur under b>, across several blocks and both borders."""
    photo, other = photo_of((150, 11)).requires_grad_(), photo_of((150, 11), seed=1)
    blurred = blur(photo, KERNELS[family])
    blurred.backward(other)
    assert torch.sum(blurred * other).item() == pytest.approx(torch.sum(photo * photo.grad).item(), rel=1e-12)
    assert torch.equal(blur(photo.detach(), KERNELS[family]), blurred.detach())


@pytest.mark.parametrize("family", KERNELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(family, dtype):
    photo = photo_of((40, 50), dtype)
    blurred = blur(photo, KERNELS[family])
    assert blurred.dtype == torch.float32
    assert torch.equal(blurred, blur(photo.float(), KERNELS[family]))
    stack = blur_stack(photo, [KERNELS[family]])
    assert stack.dtype == torch.float32
    assert torch.equal(stack, torch.stack([photo.float(), blurred], dim=1))


@pytest.mark.parametrize("family", KERNELS)
def test_autocast_changes_nothing(family):
    photo = photo_of((90, 70), torch.float32)
    plain = blur(photo, KERNELS[family])
    with torch.autocast("cpu", torch.bfloat16):
        blurred = blur(photo, KERNELS[family])
    assert blurred.dtype == torch.float32
    assert torch.equal(blurred, plain)


def test_channels_last_changes_nothing():
    photo = photo_of((70, 90), torch.float32, batch=2)
    for kernel in KERNELS.values():
        assert torch.equal(blur(photo.contiguous(memory_format=torch.channels_last), kernel), blur(photo, kernel))


@pytest.mark.parametrize("family", KERNELS)
def test_results_kept_in_inference_mode_serve_training(family):
    clear_cache()
    photo = photo_of((30, 30), torch.float32)
    with torch.inference_mode():
        expected = blur(photo, KERNELS[family]).clone()
    scale = torch.ones((), requires_grad=True)
    blurred = blur(photo * scale, KERNELS[family])
    blurred.sum().backward()
    assert torch.equal(blurred.detach(), expected)
    assert scale.grad.item() == pytest.approx(expected.sum().item(), rel=1e-5)


def test_matrices_are_kept_and_can_be_freed():
    clear_cache()
    for _ in range(3):
        blur(photo_of((30, 31)), KERNELS["gaussian"])
        blur(photo_of((30, 31)), KERNELS["disk"])
    assert cached_band.cache_info().currsize == 1
    assert cached_spectrum.cache_info().currsize == 1
    clear_cache()
    assert cached_band.cache_info().currsize == cached_spectrum.cache_info().currsize == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", KERNELS)
def test_export_gives_the_same_picture_and_leaves_no_fakes_behind(family):
    class Blur(torch.nn.Module):
        def forward(self, photo):
            return blur(photo, KERNELS[family])

    clear_cache()
    photo = photo_of((40, 33), torch.float32)
    exported = torch.export.export(Blur(), (photo,)).module()
    assert cached_band.cache_info().currsize == cached_spectrum.cache_info().currsize == 0
    torch.testing.assert_close(exported(photo), blur(photo, KERNELS[family]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (torch.full((4,), 0.25, dtype=torch.float64), r"odd k, but got \(4,\)"),
        (torch.full((3, 5), 1 / 15, dtype=torch.float64), r"odd k, but got \(3, 5\)"),
        (torch.full((1, 3, 3), 1 / 9, dtype=torch.float64), r"odd k, but got \(1, 3, 3\)"),
        (torch.ones(3, dtype=torch.float64), "a sum of 3; .* divide it by its sum"),
        (torch.tensor([-1.0, 3.0, -1.0], dtype=torch.float64), "a minimum of -1"),
        (torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64), "symmetric"),
    ],
)
def test_wrong_kernels_are_named(kernel, message):
    with pytest.raises(RequestError, match=message):
        blur(photo_of((8, 8)), kernel)
