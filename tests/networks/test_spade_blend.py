"""The published size, and what is blended at which size, against Pillow, OpenCV and hand-made masks."""

import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.networks.spade_blend import SpadeBlend
from lensblend.nn.spectral import SpectralConv2d

pytestmark = pytest.mark.usefixtures("one_thread")


def build(**arguments):
    torch.manual_seed(0)
    return SpadeBlend(**{"width": 2, "working_size": (64, 64), "norm": "instance", **arguments})


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 96, 80), dtype=np.float32))


@pytest.fixture
def saliency():
    return torch.from_numpy(np.random.default_rng(1).random((1, 1, 96, 80), dtype=np.float32))


@torch.no_grad()
def make_constant(network, values):
    """Let the generator give one value per channel everywhere, before the activations."""
    network.last.weight.zero_()
    network.last.bias.copy_(torch.tensor(values))
    return network


def recorded(module):
    """Lists of what a module is given and returns, filled by the next forward."""
    given, returned = [], []

    def record(module, inputs, output):
        given.append(inputs)
        returned.append(output)

    module.register_forward_hook(record)
    return given, returned


def test_the_published_network_has_the_published_size_and_cost():
    with torch.device("meta"):
        network = SpadeBlend().eval()
        assert sum(p.numel() for p in network.parameters()) == 92_090_116
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.rand(1, 3, 256, 256), saliency=torch.rand(1, 1, 256, 256))
    assert counter.get_total_flops() / 2e9 == pytest.approx(137, rel=0.01)


def test_the_generator_grows_from_a_thirty_second_by_five_doublings(photo, saliency):
    network = build(working_size=(64, 96))
    shapes = [recorded(layer)[1] for layer in (network.first, *network.blocks)]
    network(photo, saliency)
    assert [tuple(returned[0].shape[1:]) for returned in shapes] == [
        (32, 2, 3),
        (32, 2, 3),
        (32, 4, 6),
        (32, 4, 6),
        (16, 8, 12),
        (8, 16, 24),
        (4, 32, 48),
        (2, 64, 96),
    ]
    spectral = {name.split(".")[0] for name, m in network.named_modules() if isinstance(m, SpectralConv2d)}
    assert spectral == {"blocks"}
    assert {type(m) for m in SpadeBlend(width=1).modules() if "Norm2d" in type(m).__name__} == {nn.BatchNorm2d}


@torch.no_grad()
def test_the_condition_is_photo_and_saliency_at_the_working_size(photo, saliency):
    network = build()
    given, _ = recorded(network.blocks[0])
    network(photo, saliency)
    condition = given[0][1][0]
    for channel, plane in enumerate([*(2 * photo[0] - 1), saliency[0, 0]]):
        expected = Image.fromarray(plane.numpy()).resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(condition[channel], np.array(expected), atol=1e-5)
    starts, _ = recorded(network.first)
    network(photo, saliency)
    assert torch.equal(starts[0][0][0], condition[:, ::32, ::32])


@torch.no_grad()
def test_a_photo_of_the_working_size_is_not_resized():
    photo, saliency = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    network = build().train()
    given, _ = recorded(network.blocks[0])
    _, raw = recorded(network.last)
    aux = network(photo, saliency).aux
    torch.testing.assert_close(given[0][1], torch.cat([2 * photo - 1, saliency], 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(aux["generated"], 0.5 + 0.5 * raw[0][:, :3].tanh(), rtol=0, atol=1e-6)


@torch.no_grad()
def test_image_and_mask_are_enlarged_and_blended_with_the_photo_itself(photo, saliency):
    network = build().eval()
    network.last.weight.normal_()
    _, raw = recorded(network.last)
    bokeh, aux = network(photo, saliency)
    small = (np.tanh(raw[0][0].numpy()) + 1) / 2
    assert small.std() > 0.05
    large = cv2.resize(small.transpose(1, 2, 0), (80, 96), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    np.testing.assert_allclose(aux["generated"][0], large[:3], atol=1e-5)
    np.testing.assert_allclose(aux["mask"][0], large[3:], atol=1e-5)
    expected = photo[0].numpy() * large[3:] + large[:3] * (1 - large[3:])
    np.testing.assert_allclose(bokeh[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "mask"),
    [("tanh01", (math.tanh(0.7) + 1) / 2), ("sigmoid", 1 / (1 + math.exp(-0.7))), ("raw", math.tanh(0.7))],
)
@torch.no_grad()
def test_each_activation_of_the_mask(photo, saliency, activation, mask):
    network = make_constant(build(mask_activation=activation).eval(), [0.0, 50.0, -50.0, 0.7])
    bokeh, aux = network(photo, saliency)
    torch.testing.assert_close(aux["mask"], torch.full((1, 1, 96, 80), mask))
    expected = mask * photo + (1 - mask) * torch.tensor([0.5, 1.0, 0.0]).view(3, 1, 1)
    torch.testing.assert_close(bokeh, expected)


def test_a_raw_mask_leaves_the_range_in_training_with_its_gradient_and_not_in_evaluation(photo, saliency):
    network = make_constant(build(mask_activation="raw"), [50.0, 50.0, 50.0, -1.0])
    weight = math.tanh(-1.0)
    with torch.no_grad():
        assert torch.equal(network.eval()(photo, saliency).bokeh, torch.ones_like(photo))
    bokeh = network.train()(photo, saliency).bokeh
    torch.testing.assert_close(bokeh.detach(), weight * photo + 1 - weight)
    bokeh.mean().backward()
    expected = (photo.mean().item() - 1) * (1 - weight**2)
    assert network.last.bias.grad[3].item() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_what_the_mask_keeps_is_the_photo_bit_for_bit(photo, saliency):
    network = make_constant(build().eval(), [0.0, 0.0, 0.0, 50.0])
    assert torch.equal(network(photo, saliency).bokeh, photo)


@torch.no_grad()
def test_batch_statistics_bind_photos_in_training_only(photo, saliency):
    photos, saliencies = torch.cat([photo, photo.flip(-1)]), torch.cat([saliency, 1 - saliency])
    for norm, bound in (("batch", True), ("instance", False)):
        network = build(norm=norm)
        for _ in range(3):
            network.train()(photos, saliencies)
        network.last.weight.normal_()
        # The power iterations of the division go on with every forward; without them, two forwards are comparable.
        for module in network.modules():
            module.train("Norm2d" in type(module).__name__)
        together, alone = network(photos, saliencies).bokeh[:1], network(photo, saliency).bokeh
        assert torch.allclose(together, alone, atol=1e-4) is not bound
        network.eval()
        torch.testing.assert_close(
            network(photos, saliencies).bokeh[:1], network(photo, saliency).bokeh, rtol=0, atol=1e-4
        )


def test_the_mask_can_be_supervised_alone(photo, saliency):
    network = build()
    rendering = network(photo, saliency)
    loss = WeightedSum({"mask": {"weight": 1.0, "compares": "mask", "loss": L1()}})
    loss({"bokeh": rendering.bokeh, **rendering.aux}, {"mask": saliency})[0].backward()
    assert network.last.bias.grad[:3].tolist() == [0, 0, 0]
    assert network.last.bias.grad[3] != 0
    assert network.first.weight.grad.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "positive number of features, but got 0; the published one is 64"),
        ({"norm": "batches"}, "one of batch, instance, but got 'batches'; did you mean 'batch'"),
        ({"mask_activation": "tanh"}, "one of tanh01, sigmoid, raw, but got 'tanh'; did you mean 'tanh01'"),
        ({"working_size": (64, 0)}, r"\(height, width\), both positive, but got \[64, 0\]"),
        ({"working_size": (64,)}, r"\(height, width\), both positive, but got \[64\]"),
    ],
)
def test_other_arguments_are_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        SpadeBlend(**{"width": 1, **arguments})


@pytest.mark.parametrize(
    ("asked", "used"), [(None, (256, 256)), ((96, 128), (96, 128)), ((65, 100), (96, 128)), ((32, 48), (64, 64))]
)
def test_the_working_size_is_rounded_up_to_what_five_doublings_reach(asked, used):
    network = build(working_size=asked)
    assert network.working_size == used
    assert network.eval()(torch.rand(1, 3, 40, 40), torch.rand(1, 1, 40, 40)).bokeh.shape == (1, 3, 40, 40)
