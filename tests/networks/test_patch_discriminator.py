"""The published size, the patches that are seen, and a few steps of training against a fixed rendering."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import nn

from lensblend.errors import RequestError
from lensblend.losses.adversarial import FeatureMatching, HingeDiscriminator, HingeGenerator
from lensblend.networks.patch_discriminator import MultiscalePatchDiscriminator
from lensblend.nn.spectral import SpectralConv2d

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def discriminator():
    torch.manual_seed(0)
    return MultiscalePatchDiscriminator(width=4)


def test_the_published_network_has_the_published_size():
    with torch.device("meta"):
        network = MultiscalePatchDiscriminator()
    assert sum(p.numel() for p in network.parameters()) == 5_535_874


def test_each_scale_has_the_published_layers(discriminator):
    assert len(discriminator.networks) == 2
    for network in discriminator.networks:
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert [c.weight.shape[:2] for c in convolutions] == [(4, 7), (8, 4), (16, 8), (32, 16), (1, 32)]
        assert [(c.kernel_size, c.stride[0], c.padding) for c in convolutions] == [
            ((4, 4), step, (2, 2)) for step in (2, 2, 2, 1, 1)
        ]
        assert [isinstance(c, SpectralConv2d) for c in convolutions] == [False, True, True, True, False]
        norms = [[type(m) for m in layer if isinstance(m, nn.InstanceNorm2d)] for layer in network]
        assert [len(found) for found in norms] == [0, 1, 1, 1, 0]
        assert not [m for m in network.modules() if isinstance(m, nn.InstanceNorm2d) and m.affine]
        slopes = [m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)]
        assert slopes == [0.2] * 4


def test_a_patch_is_70_pixels_wide(discriminator):
    network = discriminator.networks[0]
    for layer in network:
        for index, part in enumerate(layer):
            if isinstance(part, nn.InstanceNorm2d):  # it sees the whole image
                layer[index] = nn.Identity()
    judged = torch.rand(1, 7, 160, 160, requires_grad=True)
    logits = discriminator(judged)[0][-1]
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows, columns = judged.grad[0].abs().sum(0).nonzero().T
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 70


@torch.no_grad()
def test_photos_are_brought_to_minus_one_and_halved_by_means(discriminator):
    given = []
    for network in discriminator.networks:
        network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    for layer in (network[0] for network in discriminator.networks):
        layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    judged = torch.rand(1, 7, 37, 48)
    before = judged.clone()
    discriminator(judged)
    assert torch.equal(judged, before)
    full, half = given
    scaled = 2 * judged - 1
    scaled[:, 3] = judged[:, 3]  # the saliency
    torch.testing.assert_close(full, scaled)
    sums = [convolve2d(plane, np.ones((3, 3)), mode="same") for plane in scaled[0].numpy()]
    counts = convolve2d(np.ones((37, 48)), np.ones((3, 3)), mode="same")
    np.testing.assert_allclose(half[0], np.stack(sums)[:, ::2, ::2] / counts[::2, ::2], atol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@torch.no_grad()
def test_every_scale_answers_with_its_features_and_then_logits(discriminator, size):
    answers = discriminator(torch.rand(2, 7, *size))
    assert [[features.shape[1] for features in answer] for answer in answers] == [[4, 8, 16, 32, 1]] * 2
    for answer, (height, width) in zip(answers, (size, [(side + 1) // 2 for side in size]), strict=True):
        for features, step in zip(answer, (2, 2, 2, 1, 1), strict=True):
            height, width = (height // step + 1, width // step + 1)  # 4 pixels of a side that is 4 longer
            assert features.shape[2:] == (height, width)


def test_it_learns_to_tell_and_its_answer_teaches_the_rendering(discriminator):
    condition, real = torch.rand(1, 4, 48, 48), torch.rand(1, 3, 48, 48)
    fake = nn.Parameter(torch.full((1, 3, 48, 48), 0.5))
    optimizer, hinge = torch.optim.Adam(discriminator.parameters(), 0.004, betas=(0.0, 0.9)), HingeDiscriminator()

    def judge(image):
        return discriminator(torch.cat([condition, image], 1))

    losses = []
    for _ in range(20):
        loss = hinge(judge(real), judge(fake.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(2, abs=0.1)
    assert losses[-1] < 0.3
    assert fake.grad is None
    answers = judge(real)
    (HingeGenerator()(judge(fake)) + FeatureMatching()(answers, judge(fake))).backward()
    assert fake.grad.abs().min() > 0


@pytest.mark.parametrize("arguments", [{"width": 0}, {"scales": 0}])
def test_arguments_are_positive(arguments):
    with pytest.raises(RequestError, match=r"are positive, but got .*; the published ones are 64 and 2"):
        MultiscalePatchDiscriminator(**{"width": 1, **arguments})
