"""What the f-number changes of a blending network: the width of its blurs, and the features that its head sees."""

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from lensblend.backbones.hourglass import Hourglass
from lensblend.backbones.timm_pyramid import TimmPyramid
from lensblend.errors import DataError, RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.networks.aperture_blend import ApertureBlend
from lensblend.networks.depth_blend import DepthBlend
from lensblend.networks.ensemble import Ensemble
from lensblend.nn.kernel_bank import KernelBank
from lensblend.ops.resize import Window
from lensblend.training.restoration import Restoration

pytestmark = pytest.mark.usefixtures("one_thread")

BACKBONES = {
    "hourglass": lambda: Hourglass(width_divisor=16),
    "light": lambda: TimmPyramid("tf_efficientnet_lite0", decoder_channels=16, stride=4),
}


def built(kind, backbone="hourglass", **arguments):
    torch.manual_seed(0)
    return kind(BACKBONES[backbone](), KernelBank(sizes=[3, 5, 9]), **arguments).eval()


@torch.no_grad()
def modulating(network):
    """Let the f-number change the features by about as much as they are."""
    torch.nn.init.normal_(network.modulation[-1].weight, std=0.3)
    return network


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((3, 3, 40, 56), dtype=np.float32))


@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_at_first_it_is_depth_blend_with_blurs_in_proportion_to_the_aperture(photo, backbone):
    network, plain = built(ApertureBlend, backbone, f_numbers=[2, 16]), built(DepthBlend, backbone)
    added = network.state_dict().keys() - plain.state_dict().keys()
    assert added == {f"modulation.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")}
    assert torch.equal(network(photo).bokeh, plain(photo).bokeh)
    for f_number in (1.4, 2, 5.6, 16):
        assert torch.equal(network.at_f_number(f_number)(photo).bokeh, plain.scaled(2 / f_number)(photo).bokeh)


@torch.no_grad()
def test_half_the_f_number_is_a_kernel_twice_as_wide(photo):
    network = built(ApertureBlend, f_numbers=[2, 16]).at_f_number(4)
    network.head.weight.zero_()
    network.head.bias.copy_(torch.tensor([-1000.0, -1000, -1000, 0]))
    sigma = (0.15 * 9 + 0.35) * 2 / 4  # OpenCV's rule for nine pixels, at half the aperture
    image = np.float64(photo[0].permute(1, 2, 0).numpy())
    expected = cv2.GaussianBlur(image, (5, 5), sigma, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(network(photo).bokeh[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


@torch.no_grad()
def test_features_are_scaled_and_shifted_channel_by_channel(photo):
    network, seen = modulating(built(ApertureBlend, f_numbers=[2, 16])), []
    network.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].double().numpy()))
    network.at_f_number(5.6)(photo)
    features = network.backbone(photo).double().numpy()
    first, _, last = network.modulation
    hidden = first(torch.tensor([[np.log(5.6 / 2) / np.log(8)]], dtype=torch.float32)).double().numpy()
    swish = hidden / (1 + np.exp(-hidden))
    found = swish @ last.weight.double().numpy().T + last.bias.double().numpy()
    scale, shift = np.split(found[0], 2)
    expected = (1 + scale[:, None, None]) * features + shift[:, None, None]
    np.testing.assert_allclose(seen[0], expected, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("full", [None, (80, 100)])
@torch.no_grad()
def test_photos_of_several_f_numbers_are_rendered_each_as_alone(photo, backbone, full):
    network = modulating(built(ApertureBlend, backbone, f_numbers=[2, 16]))
    given = {} if full is None else {"full_photo": torch.rand(3, 3, *full)}
    numbers = [2.0, 5.6, 11.0]
    bokeh, aux = network(photo, f_number=torch.tensor(numbers), **given)
    for index, number in enumerate(numbers):
        one = slice(index, index + 1)
        alone = network.at_f_number(number)(photo[one], **{name: value[one] for name, value in given.items()})
        torch.testing.assert_close(bokeh[one], alone.bokeh, rtol=0, atol=1e-5)
        for name, value in alone.aux.items():
            torch.testing.assert_close(aux[name][one], value, rtol=0, atol=1e-5)
    other = network.at_f_number(11)(photo[:1], **{name: value[:1] for name, value in given.items()}).bokeh
    assert (bokeh[:1] - other).abs().max() > 0.01


@torch.no_grad()
def test_pieces_of_a_larger_photo_are_as_the_whole(photo):
    network, large = modulating(built(ApertureBlend)).at_f_number(4), torch.rand(1, 3, 80, 112)
    whole = network(photo[:1], full_photo=large).bokeh
    window = Window(0, 0, 80, 112)
    torch.testing.assert_close(network.full_size(photo[:1], (80, 112))(large, window)[0], whole, rtol=0, atol=1e-5)


def test_a_gradient_reaches_every_layer_of_the_perceptron(photo):
    network = built(ApertureBlend, f_numbers=[2, 16]).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    for _ in range(2):  # the last layer is zero at first, and stops what goes on to the first
        optimizer.zero_grad()
        rendering = network(photo, f_number=torch.tensor([2.0, 4.0, 16.0]))
        (rendering.bokeh - photo.flip(-1)).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in network.modulation.parameters())


def test_a_network_at_one_f_number_shares_its_parameters_and_takes_no_other():
    network = built(ApertureBlend, f_numbers=[2, 16])
    fixed = network.at_f_number(4)
    assert network.f_numbers == (2, 16)
    assert fixed.f_numbers is None
    assert all(one is other for one, other in zip(network.parameters(), fixed.parameters(), strict=True))
    assert (network.bank.scale, fixed.bank.scale, fixed.scaled(3).bank.scale) == (1, 0.5, 1.5)
    with pytest.raises(RequestError, match="takes no f-number, or has been given one"):
        fixed.at_f_number(2)
    with pytest.raises(RequestError, match="takes no f-number"):
        built(DepthBlend).at_f_number(2)


@pytest.mark.parametrize("f_numbers", [[2], [2, 2], [16, 2], [0, 2], [2, float("inf")]])
def test_a_range_that_is_none_is_refused(f_numbers):
    with pytest.raises(RequestError, match=r"least and the largest f-number .* use \[2, 16\]"):
        built(ApertureBlend, f_numbers=f_numbers)


@pytest.mark.parametrize("f_number", [0, -1, float("nan")])
def test_an_f_number_that_is_none_is_refused(f_number):
    with pytest.raises(RequestError, match="positive and finite"):
        built(ApertureBlend).at_f_number(f_number)


@torch.no_grad()
def test_an_ensemble_follows_the_f_number_if_all_of_it_does(photo):
    members = [modulating(built(ApertureBlend, f_numbers=[2, 16])), built(ApertureBlend, f_numbers=[2.8, 22])]
    network = Ensemble(members).eval()
    assert network.f_numbers == (2.8, 16)
    expected = sum(member.at_f_number(8)(photo).bokeh for member in members) / 2
    torch.testing.assert_close(network.at_f_number(8)(photo).bokeh, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(network(photo, f_number=torch.full((3,), 8.0)).bokeh, expected, rtol=0, atol=1e-5)
    assert network.at_f_number(8).f_numbers is None
    with pytest.raises(RequestError, match="DepthBlend takes none and others do"):
        Ensemble([built(DepthBlend), built(ApertureBlend)])


def module(network):
    term = {"weight": 1.0, "compares": "bokeh", "loss": L1()}
    return Restoration(network, WeightedSum({"l1": term}), {}, torch.optim.SGD).eval()


def batch(**more):
    images = torch.rand(2, 2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    return {"id": ["one", "two"], "photo": images[0], "target": images[1], **more}


@torch.no_grad()
def test_a_training_tells_the_network_the_f_number_of_each_pair():
    network = modulating(built(ApertureBlend, f_numbers=[2, 16]))
    given = batch(f_number=torch.tensor([2.0, 8.0]))
    found = module(network).answer(given)["bokeh"]
    for index, number in enumerate((2, 8)):
        one = slice(index, index + 1)
        expected = network.at_f_number(number)(given["photo"][one]).bokeh
        torch.testing.assert_close(found[one], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, r"`one` has no f-number, .* \(data=realbokeh"),
        ({"f_number": torch.tensor([2.0, 22.0])}, r"`two` is of f/22, but `model.f_numbers` is \[2, 16\]"),
        ({"f_number": torch.tensor([1.8, 16.0])}, r"`one` is of f/1.8"),
    ],
)
def test_pairs_without_an_f_number_or_outside_of_the_range_are_refused(known, message):
    with pytest.raises(DataError, match=message):
        module(built(ApertureBlend, f_numbers=[2, 16])).answer(batch(**known))


def rendered(count, seed):
    """Pairs of noise whose right half is out of focus, as much as an f-number from 2 to 16 that is drawn says."""
    draw = np.random.default_rng(seed)
    photos = draw.random((count, 3, 32, 48), dtype=np.float32)
    photos[..., :24] *= 0.5  # what is in focus is darker, so that it can be told
    numbers = 2 ** draw.uniform(1, 4, count)
    targets = np.stack([gaussian_filter(p, (0, 4 / n, 4 / n)) for p, n in zip(photos, numbers, strict=True)])
    targets[..., :24] = photos[..., :24]
    return *map(torch.from_numpy, (photos, targets)), torch.from_numpy(numbers).float()


def trained(network, pairs, told):
    photos, targets, numbers = pairs
    optimizer = torch.optim.Adam(network.train().parameters(), lr=5e-3)
    for step in range(40):
        part = slice(8 * (step % 4), 8 * (step % 4) + 8)
        bokeh = network(photos[part], **({"f_number": numbers[part]} if told else {})).bokeh
        optimizer.zero_grad()
        (bokeh - targets[part]).abs().mean().backward()
        optimizer.step()
    return network.eval()


@pytest.mark.slow
def test_told_the_f_number_it_follows_it_and_scores_a_decibel_more():
    (photos, targets, numbers), kernels = rendered(12, 1), [5, 9, 15]
    scores = {}
    for kind in (ApertureBlend, DepthBlend):
        torch.manual_seed(0)
        network, told = kind(Hourglass(width_divisor=16), KernelBank(sizes=kernels)), kind is ApertureBlend
        network = trained(network, rendered(32, 0), told)
        with torch.no_grad():
            bokeh = network(photos, **({"f_number": numbers} if told else {})).bokeh.numpy()
        each = zip(targets.numpy(), bokeh, strict=True)
        scores[kind] = np.mean([peak_signal_noise_ratio(*both, data_range=1) for both in each])
        if told:
            with torch.no_grad():
                asked = [network.at_f_number(n)(photos).bokeh for n in (2, 2.8, 4, 5.6, 8, 11, 16)]
            steps = [image[..., 28:].diff(dim=-1).abs().mean().item() for image in asked]
            assert steps == sorted(steps)
            assert steps[0] < 0.5 * steps[-1]
    assert scores[ApertureBlend] > scores[DepthBlend] + 1, scores
