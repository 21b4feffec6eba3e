"""Equations 1 and 2 against NumPy, SciPy and OpenCV, and the published counts."""

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d, gaussian_filter1d
from torch.nn.functional import avg_pool2d

from lensblend.backbones.hourglass import Hourglass
from lensblend.errors import RequestError
from lensblend.networks.depth_blend import DepthBlend
from lensblend.networks.joint_blend import JointBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone, check_photo
from lensblend.ops.padding import pad_to_multiple
from lensblend.priors.depth_network import DepthNetwork

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = (3, 5, 9)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=SIZES)).eval()


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((2, 3, 40, 56), dtype=np.float32))


@torch.no_grad()
def choose(network, index):
    """Make every weight map zero but one, which is one: e^-1000 is nothing."""
    network.head.weight.zero_()
    network.head.bias.fill_(-1000)
    network.head.bias[index] = 0
    return network


def blurred(image, kernel_size):
    """Blur as OpenCV's documentation says: sigma from the size, the border mirrored about the last pixel."""
    distance = np.arange(kernel_size) - kernel_size // 2
    kernel = np.exp(-0.5 * (distance / (0.15 * kernel_size + 0.35)) ** 2)
    for axis in (-2, -1):
        image = convolve1d(np.float64(image), kernel / kernel.sum(), axis=axis, mode="mirror")
    return image


def decoded(photo):
    return np.where(photo <= 0.04045, photo / 12.92, ((photo + 0.055) / 1.055) ** 2.4)


def encoded(light):
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    ("sizes", "parameters"), [([75], 5_357_730), ([25, 45, 75], 5_358_884), ([5, 25, 45], 5_358_884)]
)
def test_the_published_networks_have_the_published_size(sizes, parameters):
    network = DepthBlend(Hourglass(), KernelBank(sizes=sizes))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == 779
    assert network.head.kernel_size == (3, 3)


@pytest.mark.parametrize("index", range(4))
@torch.no_grad()
def test_one_hot_weights_show_one_copy(network, photo, index):
    bokeh, aux = choose(network, index)(photo)
    expected = blurred(photo.numpy(), SIZES[index - 1]) if index else photo.numpy()
    np.testing.assert_allclose(bokeh.numpy(), expected, atol=1e-6)
    assert torch.equal(aux["weights"][:, index], torch.ones(2, 40, 56))
    assert torch.equal(aux["stack"][:, 0], photo)


@torch.no_grad()
def test_weights_are_a_softmax_across_maps_and_bokeh_their_weighted_sum(network, photo):
    logits = []
    network.head.weight.mul_(20)
    network.head.register_forward_hook(lambda _, __, output: logits.append(output.double().numpy()))
    bokeh, aux = network(photo)
    exponents = np.exp(logits[0] - logits[0].max(axis=1, keepdims=True))
    weights = exponents / exponents.sum(axis=1, keepdims=True)
    assert weights.std(axis=(2, 3)).min() > 0.01
    np.testing.assert_allclose(aux["weights"].numpy(), weights, atol=1e-6)
    copies = [photo.numpy(), *(blurred(photo.numpy(), size) for size in SIZES)]
    expected = sum(weights[:, i : i + 1] * copy for i, copy in enumerate(copies))
    np.testing.assert_allclose(bokeh.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
@torch.no_grad()
def test_weights_sum_to_one_in_every_precision(network, photo, dtype):
    network.head.weight.mul_(20)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        weights = network(photo).aux["weights"]
    assert weights.dtype == torch.float32
    assert weights.min() >= 0
    assert (weights.double().sum(dim=1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("linear_light", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.02, 0.3, 1.0])
@torch.no_grad()
def test_a_constant_photo_stays_constant(network, linear_light, value):
    network.linear_light = linear_light
    photo = torch.full((1, 3, 35, 70), value)
    torch.testing.assert_close(network(photo).bokeh, photo, rtol=0, atol=2e-6)


@pytest.mark.parametrize("index", [0, 3])
@torch.no_grad()
def test_linear_light_blurs_what_a_lens_would(network, photo, index):
    network.linear_light = True
    bokeh, aux = choose(network, index)(photo)
    light = decoded(photo.double().numpy())
    light = blurred(light, SIZES[index - 1]) if index else light
    np.testing.assert_allclose(bokeh.numpy(), encoded(light), atol=5e-6)
    np.testing.assert_allclose(aux["stack"][:, index].numpy(), light, atol=5e-6)


@torch.no_grad()
def test_a_full_photo_of_the_same_size_changes_nothing(network, photo):
    expected, found = network(photo), network(photo, full_photo=photo)
    torch.testing.assert_close(found.bokeh, expected.bokeh, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.aux["weights"], expected.aux["weights"], rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_full_photo_in_focus_is_kept_bit_for_bit(network, photo):
    full_photo = torch.rand(2, 3, 83, 101)
    bokeh, aux = choose(network, 0)(photo, full_photo=full_photo)
    assert torch.equal(bokeh, full_photo)
    assert aux["stack"].shape == (2, 4, 3, 83, 101)


@pytest.mark.parametrize(("size", "ratio"), [((80, 112), 2.0), ((120, 168), 3.0), ((160, 56), 2.0)])
@torch.no_grad()
def test_kernels_grow_with_the_geometric_mean_of_the_sides(network, photo, size, ratio):
    full_photo = torch.rand(2, 3, *size)
    bokeh = choose(network, 3)(photo, full_photo=full_photo).bokeh
    expected = full_photo.double().numpy()
    for axis in (-2, -1):
        expected = gaussian_filter1d(expected, ratio * (0.15 * 9 + 0.35), axis=axis, mode="mirror")
    # The paper's kernels end at 2.35 sigma; SciPy's Gaussian goes on.
    np.testing.assert_allclose(bokeh.numpy(), expected, atol=0.02)
    assert np.abs(bokeh.numpy() - expected).mean() < 0.003


@torch.no_grad()
def test_weights_are_enlarged_bilinearly(network, photo):
    network.head.weight.mul_(20)
    small = network(photo).aux["weights"].numpy()
    weights = network(photo, full_photo=torch.rand(2, 3, 97, 133)).aux["weights"].numpy()
    for row, maps in zip(weights, small, strict=True):
        expected = cv2.resize(maps.transpose(1, 2, 0), (133, 97), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
        np.testing.assert_allclose(row, expected, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_gradient_reaches_the_stem_of_the_published_network():
    network = DepthBlend(Hourglass(), KernelBank(sizes=SIZES))
    photo = torch.rand(2, 3, 32, 32)
    (network(photo).bokeh - photo.flip(-1)).square().mean().backward()
    assert network.backbone.stem[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (torch.rand(3, 64, 64), r"\(b, 3, h, w\), but got torch.float32 of shape \[3, 64, 64\]; use `photo\[None\]`"),
        (torch.rand(1, 1, 64, 64), r"of shape \[1, 1, 64, 64\]"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"got torch.uint8 .*divide 8-bit values by 255"),
        (torch.rand(1, 3, 64, 20), r"but got 64 × 20; enlarge"),
        (torch.full((1, 3, 32, 32), 1.1), r"but got 1.1 to 1.1; divide"),
    ],
)
def test_what_is_no_photo_is_refused(photo, message):
    with pytest.raises(RequestError, match=message):
        check_photo(photo)


def test_a_full_photo_is_checked_too(network, photo):
    with pytest.raises(RequestError, match="got 0 to 2"):
        network(photo, full_photo=torch.linspace(0, 2, 2 * 3 * 64 * 64).view(2, 3, 64, 64))


def test_rounding_and_nan_pass():
    check_photo(torch.full((1, 3, 32, 32), 1 + 1e-4))
    check_photo(torch.full((1, 3, 32, 32), float("nan")))


class Shares(Backbone):
    """A backbone of stride 4 whose one feature is the mean of red, as a grid that reaches beyond the photo."""

    def __init__(self):
        super().__init__(out_channels=1, stride=4)

    def forward(self, photo):
        return avg_pool2d(pad_to_multiple(photo, 16), 4)[:, :1]


@torch.no_grad()
def two_weights(**options):
    """Build a network whose share of blur is high where red is: sharp on the left, blurred on the right."""
    network = DepthBlend(Shares(), KernelBank(sizes=[25]), **options).eval()
    network.head.weight.zero_()
    network.head.weight[1, 0, 1, 1] = 40
    network.head.bias.copy_(torch.tensor([20.0, 0.0]))
    return network


def half_red(height=70, width=93, edge=45):
    photo = torch.full((1, 3, height, width), 0.2)
    photo[:, 0, :, edge:] = 0.9
    return photo


@torch.no_grad()
@pytest.mark.parametrize("size", [None, (140, 186)])
def test_guided_weights_follow_the_photos_edge(size):
    """The share of blur steps where the photo does, not within a weight's cell of 4 pixels, and the sum is one."""
    full = None if size is None else half_red(*size, edge=90)
    guided = two_weights(enlarge="guided")(half_red(), full).aux["weights"]
    bilinear = two_weights()(half_red(), full).aux["weights"]
    torch.testing.assert_close(guided.sum(1), torch.ones_like(guided[:, 0]), rtol=0, atol=1e-5)
    assert guided.min() >= 0
    truth = ((full if size else half_red())[:, 0] > 0.5).float()
    assert (guided[:, 1] - truth).abs().mean() < 0.5 * (bilinear[:, 1] - truth).abs().mean()


@torch.no_grad()
def test_a_coarse_grid_lies_where_the_photo_lies():
    """A photo whose sides no stride divides: its weights are those of the photo that is extended by itself."""
    photo = half_red()
    ours = two_weights()(photo).aux["weights"]
    whole = two_weights()(pad_to_multiple(photo, 16)).aux["weights"]
    torch.testing.assert_close(ours, whole[..., :70, :93], rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("size", [(96, 128), (70, 93), (65, 90)])
def test_half_the_size_is_seen_where_the_photo_lies_and_counts_by_its_share(size):
    """A ramp looks alike at both sizes; of stripes that the smaller photo cannot hold, its share is lost."""
    ramp = (torch.arange(size[0])[:, None] + torch.arange(size[1])).float().expand(1, 3, -1, -1) / 250
    ours, fine = (DepthBlend(Shares(), KernelBank(sizes=[9]), coarse_share=share).features(ramp) for share in (0.5, 0))
    torch.testing.assert_close(ours[..., 2:-6, 2:-6], fine[..., 2:-6, 2:-6], rtol=0, atol=1e-5)

    class Itself(Backbone):
        def __init__(self):
            super().__init__(out_channels=3)

        def forward(self, photo):
            return photo

    stripes = 0.5 + 0.5 * (-1.0) ** torch.arange(size[1]).expand(1, 3, size[0], -1)
    seen = DepthBlend(Itself(), KernelBank(sizes=[9]), coarse_share=0.75).features(stripes)[..., :-2]
    torch.testing.assert_close(seen, 0.5 + 0.25 * (stripes[..., :-2] - 0.5), rtol=0, atol=1e-5)


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(RequestError, match=rf"`coarse_share` is in \[0, 1\), but got {share}"):
        DepthBlend(Shares(), KernelBank(sizes=[9]), coarse_share=share)


@torch.no_grad()
def test_without_bleeding_nothing_of_the_sharp_half_is_in_the_blurred_one():
    """Beside a sharp white half, the blurred half of another colour keeps that colour up to the edge."""
    photo = torch.full((1, 3, 64, 96), 0.3)
    photo[..., 48:] = 1.0
    photo[:, 0] = torch.where(photo[:, 1] > 0.5, 0.0, 1.0)  # red where it is blurred
    network = two_weights(bleeding=False)
    spill = two_weights()(photo).aux["stack"][0, 1, 1, :, :44]
    clean = network(photo).aux["stack"][0, 1, 1, :, :44]
    assert (spill - 0.3).max() > 0.05
    assert (clean - 0.3).abs().max() < 0.02
    # Equal shares everywhere: an ordinary blur.
    even = DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=SIZES), bleeding=False).eval()
    even.head.weight.zero_(), even.head.bias.zero_()
    picture = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(even(picture).aux["stack"][:, 2].numpy(), blurred(picture.numpy(), SIZES[1]), atol=1e-5)


def test_networks_that_estimate_maps_refuse_a_coarse_backbone():
    for build in (DepthNetwork, lambda backbone: JointBlend(backbone, KernelBank(sizes=[9]))):
        with pytest.raises(RequestError, match=r"`backbone.stride` is 1"):
            build(Shares())
    with pytest.raises(RequestError, match="guided"):
        DepthBlend(Shares(), KernelBank(sizes=[9]), enlarge="giuded")
