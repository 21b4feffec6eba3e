"""What the two further heads add to the blending network of the paper, against NumPy, SciPy and OpenCV."""

import cv2
import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from lensblend.backbones.hourglass import Hourglass
from lensblend.networks.depth_blend import DepthBlend
from lensblend.networks.joint_blend import JointBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.priors.depth_network import DepthNetwork

pytestmark = pytest.mark.usefixtures("one_thread")

ADDED = {"depth_head.weight", "depth_head.bias", "saliency_head.weight", "saliency_head.bias", "alpha"}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return JointBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5, 9])).eval()


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((2, 3, 40, 56), dtype=np.float32))


def heads_of(network, photo):
    """Render, and return the rendering with what each head gave, as float64 arrays."""
    seen = {}
    for name in ("head", "depth_head", "saliency_head"):
        getattr(network, name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.double().numpy()})
        )
    return network(photo), seen


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_two_heads_and_a_scalar_are_all_that_is_added():
    bank = KernelBank(sizes=[25, 45, 75])
    with torch.device("meta"):
        joint, blending = JointBlend(Hourglass(), bank), DepthBlend(Hourglass(), bank)
    assert count(joint) - count(blending) == 2 * 577 + 1
    assert count(joint) == 5_360_039
    assert joint.state_dict().keys() - blending.state_dict().keys() == ADDED
    assert joint.alpha.numel() == 1


@torch.no_grad()
def test_at_first_the_weights_are_those_of_a_blending_network(network, photo):
    blending = DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5, 9])).eval()
    blending.load_state_dict({k: v for k, v in network.state_dict().items() if k not in ADDED})
    found, expected = network(photo), blending(photo)
    assert torch.equal(found.bokeh, expected.bokeh)
    assert torch.equal(found.aux["weights"], expected.aux["weights"])


def test_it_starts_from_a_depth_networks_trunk(network):
    torch.manual_seed(1)
    depth = DepthNetwork(Hourglass(width_divisor=16))
    network.backbone.load_state_dict(depth.backbone.state_dict())
    assert torch.equal(network.backbone.stem[0].weight, depth.backbone.stem[0].weight)


@pytest.mark.parametrize("alpha", [0.7, -2.0])
@torch.no_grad()
def test_saliency_moves_the_logit_of_the_unblurred_photo_by_alpha(network, photo, alpha):
    network.alpha.fill_(alpha)
    network.head.weight.mul_(20)
    network.saliency_head.weight.mul_(20)
    (_, aux), seen = heads_of(network, photo)
    logits = seen["head"].copy()
    logits[:, 0] += np.float32(alpha) * seen["saliency_head"][:, 0]
    assert seen["saliency_head"].std() > 0.1
    np.testing.assert_allclose(aux["weights"], softmax(logits, axis=1), atol=1e-6)


@torch.no_grad()
def test_aux_holds_each_heads_map(network, photo):
    (_, aux), seen = heads_of(network, photo)
    np.testing.assert_array_equal(aux["log_depth"], seen["depth_head"])
    np.testing.assert_array_equal(aux["saliency_logits"], seen["saliency_head"])
    np.testing.assert_allclose(aux["saliency"], expit(seen["saliency_head"]), atol=1e-6)


@torch.no_grad()
def test_what_is_salient_stays_sharp_where_alpha_is_large(network, photo):
    network.alpha.fill_(1000)
    network.saliency_head.weight.zero_()
    for bias, blurred in ((1.0, False), (-1.0, True)):
        network.saliency_head.bias.fill_(bias)
        bokeh, aux = network(photo)
        assert torch.equal(bokeh, photo) != blurred
        assert (aux["weights"][:, 0] == float(not blurred)).all()


def test_alpha_learns_from_bokeh_at_once_and_the_saliency_head_as_soon_as_alpha_has(network, photo):
    def gradients():
        network.zero_grad()
        (network(photo).bokeh - photo.flip(-1)).square().mean().backward()
        return network.alpha.grad.abs().item(), network.saliency_head.weight.grad.abs().sum().item()

    alpha, saliency = gradients()
    assert alpha > 0
    assert saliency == 0
    with torch.no_grad():
        network.alpha.fill_(0.1)
    assert gradients()[1] > 0


@torch.no_grad()
def test_with_a_full_photo_all_maps_have_its_size(network, photo):
    network.alpha.fill_(0.5)
    small = network(photo).aux
    full_photo = torch.rand(2, 3, 97, 133)
    bokeh, aux = network(photo, full_photo=full_photo)
    assert bokeh.shape == full_photo.shape
    for name, maps in aux.items():
        assert maps.shape[-2:] == (97, 133), name
    for name in ("log_depth", "saliency_logits", "weights"):
        for found, maps in zip(aux[name], small[name], strict=True):
            expected = [cv2.resize(m.numpy(), (133, 97), interpolation=cv2.INTER_LINEAR) for m in maps]
            np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
    np.testing.assert_allclose(aux["saliency"], expit(aux["saliency_logits"].numpy()), atol=1e-6)
