"""What every network keeps: one more network is one more row of `NETWORKS`."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from lensblend.backbones.hourglass import Hourglass
from lensblend.backbones.timm_pyramid import TimmPyramid
from lensblend.errors import RequestError
from lensblend.inference.prior_maps import estimates
from lensblend.networks.aperture_blend import ApertureBlend
from lensblend.networks.attention_unet import AttentionUnet
from lensblend.networks.depth_blend import DepthBlend
from lensblend.networks.dual_bokehnet import DualBokehNet
from lensblend.networks.dynamic_filter_dense import DynamicFilterDense
from lensblend.networks.edge_guided_residual import EdgeGuidedResidual
from lensblend.networks.ensemble import Ensemble
from lensblend.networks.joint_blend import JointBlend
from lensblend.networks.multiscale_hierarchical import MultiscaleHierarchical, StackedMultiscaleHierarchical
from lensblend.networks.nonlocal_autoencoder import NonlocalAutoencoder
from lensblend.networks.predictive_filter import PredictiveFilter
from lensblend.networks.saliency_blend import SaliencyBlend
from lensblend.networks.saliency_rrdb import SaliencyRrdb
from lensblend.networks.spade_blend import SpadeBlend
from lensblend.nn.checkpointing import checkpoint_activations
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Rendering

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Case:
    """How to build a network at reduced width, what else its ``forward`` takes, and what it returns beside bokeh.

    ``supervised`` names what losses see beside bokeh: some parameters have no other gradient. Deep networks without
    normalisation overfit one pair at a lower learning rate only, and where the initial weights are small, so is
    the first step (``first_lr``). A network that adds a ``residual`` to the photo starts near it, where only hundreds
    of steps find a blur: it overfits a negative instead.
    """

    build: Callable[[], nn.Module]
    aux: set[str]
    guidance: Callable[[Tensor], dict[str, Tensor]] = field(default=lambda photo: {})
    supervised: tuple[str, ...] = ()
    lr: float = 0.02
    first_lr: float = 0.001
    residual: bool = False


def bank() -> KernelBank:
    return KernelBank(sizes=[3, 5, 9])


def opened(network):
    """Let the non-local block, which starts as the identity, change something: nothing within has a gradient before."""
    nn.init.normal_(network.nonlocal_block.out.weight)
    return network


@torch.no_grad()
def awake(network):
    """Open the ReLUs behind pooled features: a narrow network may start with all of one block's closed."""
    for name, parameter in network.named_parameters():
        if name.endswith(("factors.0.bias", "whole.bias")):
            parameter.fill_(0.5)
    return network


def attentive():
    """A network whose attention has begun to count: its gain starts at zero, and takes all gradient with it."""
    network = EdgeGuidedResidual(width=8, attention=True)
    nn.init.constant_(network.attention.gain, 0.5)
    return network


@torch.no_grad()
def modulating(network):
    """Let the f-number change features, which it does not at first: until then only the last layer has a gradient."""
    nn.init.normal_(network.modulation[-1].weight, std=0.1)
    return network


NETWORKS = {
    "depth_blend": Case(lambda: DepthBlend(Hourglass(width_divisor=16), bank()), {"weights", "stack", "mask"}),
    "depth_blend linear": Case(
        lambda: DepthBlend(Hourglass(width_divisor=16), bank(), linear_light=True), {"weights", "stack", "mask"}
    ),
    "depth_blend timm": Case(
        lambda: DepthBlend(TimmPyramid("mobilenetv4_conv_small", decoder_channels=16), bank()),
        {"weights", "stack", "mask"},
    ),
    "depth_blend coarse": Case(
        lambda: DepthBlend(Hourglass(width_divisor=16), bank(), coarse_share=0.5), {"weights", "stack", "mask"}
    ),
    "aperture_blend": Case(
        lambda: modulating(ApertureBlend(Hourglass(width_divisor=16), bank(), f_numbers=[1, 4])),
        {"weights", "stack", "mask"},
        guidance=lambda photo: {"f_number": torch.full((len(photo),), 1.5)},
    ),
    "joint_blend": Case(
        lambda: JointBlend(Hourglass(width_divisor=16), bank()),
        {"weights", "stack", "mask", "saliency", "saliency_logits", "log_depth"},
        supervised=("saliency_logits", "log_depth"),
    ),
    "saliency_blend": Case(
        lambda: SaliencyBlend(KernelBank(sizes=[9])),
        {"weights", "stack", "saliency"},
        guidance=lambda photo: {"saliency": photo[:, :1]},
    ),
    "multiscale_hierarchical": Case(lambda: MultiscaleHierarchical(width=4), {"pyramid"}, lr=0.004),
    "multiscale_hierarchical stacked": Case(lambda: StackedMultiscaleHierarchical(width=4), {"pyramid"}, lr=0.004),
    "spade_blend": Case(
        lambda: SpadeBlend(width=4, norm="instance", working_size=(64, 64)),
        {"mask", "generated"},
        guidance=lambda photo: {"saliency": photo[:, :1]},
        lr=0.004,
        first_lr=0.0001,
    ),
    "predictive_filter": Case(lambda: PredictiveFilter(width=4, kernel_size=3), {"pyramid", "kernels"}),
    "dynamic_filter_dense": Case(
        lambda: DynamicFilterDense(width=2),
        {"kernels"},
        guidance=lambda photo: {"saliency": photo[:, :1], "disparity": photo[:, 1:2]},
    ),
    "attention_unet": Case(
        lambda: awake(AttentionUnet(width=8)), {"pyramid"}, supervised=("pyramid",), lr=0.004, residual=True
    ),
    "attention_unet full": Case(
        lambda: awake(AttentionUnet(width=8, stem="full")),
        {"pyramid"},
        supervised=("pyramid",),
        lr=0.004,
        residual=True,
    ),
    "nonlocal_autoencoder": Case(lambda: opened(NonlocalAutoencoder(width=8)), set(), lr=0.004),
    "ensemble": Case(
        lambda: Ensemble([SaliencyBlend(KernelBank(sizes=[9])), MultiscaleHierarchical(width=4)]),
        {"members"},
        guidance=lambda photo: {"saliency": photo[:, :1]},
        lr=0.004,
    ),
    "saliency_rrdb": Case(
        lambda: SaliencyRrdb(width=8, blocks=2),
        {"saliency"},
        guidance=lambda photo: {"saliency": photo[:, :1]},
    ),
    "edge_guided_residual": Case(lambda: EdgeGuidedResidual(width=8), {"edges"}),
    "edge_guided_residual rgb": Case(lambda: EdgeGuidedResidual(width=8, colour="rgb"), {"edges"}),
    "edge_guided_residual attention": Case(attentive, {"edges"}),
    # Of fewer than five features behind a ReLU, all may be dead from the start.
    "dual_bokehnet": Case(
        lambda: DualBokehNet(width=20),
        {"local_bokeh", "global_bokeh"},
        supervised=("local_bokeh", "global_bokeh"),
        lr=0.004,
        first_lr=0.0001,
        residual=True,
    ),
    "dual_bokehnet released": Case(
        lambda: DualBokehNet(width=20, variant="released"), {"local_bokeh", "global_bokeh"}, lr=0.004
    ),
    "dual_bokehnet memnet": Case(
        lambda: DualBokehNet(width=8, memory="memnet"),
        {"local_bokeh", "global_bokeh"},
        supervised=("local_bokeh", "global_bokeh"),
        lr=0.004,
        first_lr=0.0001,
        residual=True,
    ),
}


def tensors(aux):
    """The intermediates, those of a list one by one."""
    return [tensor for value in aux.values() for tensor in (value if isinstance(value, list) else [value])]


# The variants of a network, named after a space, with the slow tests.
ROWS = [pytest.param(name, marks=pytest.mark.slow if " " in name else ()) for name in NETWORKS]


@pytest.fixture(params=ROWS)
def case(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]


@pytest.fixture
def network(case):
    return case.build().eval()


@pytest.fixture
def trainable(network):
    """The network as it trains; one without weights has nothing to test here."""
    if not list(network.parameters()):
        pytest.skip("it has no weights")
    return network.train()


@pytest.fixture
def render(case):
    return lambda network, photo: network(photo, **case.guidance(photo))


@pytest.fixture
def pair():
    """A noisy photo, and a target that is blurred to the right of the middle."""
    photo = np.random.default_rng(0).random((1, 3, 48, 48), dtype=np.float32)
    target = photo.copy()
    target[..., 24:] = gaussian_filter(photo, sigma=(0, 0, 2, 2))[..., 24:]
    return torch.from_numpy(photo), torch.from_numpy(target)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (75, 50)])
@torch.no_grad()
def test_bokeh_has_the_photos_size_and_range(case, network, render, size):
    rendering = render(network, torch.rand(2, 3, *size))
    assert isinstance(rendering, Rendering)
    assert set(rendering.aux) == case.aux
    assert rendering.bokeh.shape == (2, 3, *size)
    assert rendering.bokeh.dtype == torch.float32
    assert rendering.bokeh.min() >= -1e-6
    assert rendering.bokeh.max() <= 1 + 1e-6


@torch.no_grad()
def test_what_a_network_says_of_itself_is_so(case, network, render):
    photo = torch.rand(1, 3, 33, 40)
    aux = render(network, photo).aux
    assert network.renders
    assert set(network.guidance) == set(case.guidance(photo)) - {"f_number"}
    assert set(network.estimates) == set(estimates(aux))
    assert len(network.map_names) == (aux["weights"].shape[1] if "weights" in aux else 0)
    taken = inspect.signature(network.forward).parameters
    assert network.blends_full_size == ("full_photo" in taken)
    assert type(network) is Ensemble or network.takes_coordinates == ("coordinates" in taken)
    assert type(network) is Ensemble or (network.f_numbers is not None) == ("f_number" in taken)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_photos_give_finite_values_and_gradients(trainable, render, value):
    bokeh, aux = render(trainable, torch.full((2, 3, 64, 64), value))
    bokeh.mean().backward()
    assert bokeh.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in tensors(aux))
    assert all(p.grad is None or p.grad.isfinite().all() for p in trainable.parameters())


@torch.no_grad()
def test_a_photo_is_rendered_alike_alone_and_in_a_batch(network, render):
    photos = torch.rand(3, 3, 40, 56)
    together = render(network, photos).bokeh
    for index in range(3):
        torch.testing.assert_close(
            render(network, photos[index : index + 1]).bokeh[0], together[index], rtol=0, atol=1e-5
        )


@torch.no_grad()
def test_the_photo_is_left_as_it_was_and_rendering_repeats(network, render):
    photo = torch.rand(1, 3, 40, 40)
    before = photo.clone()
    first = render(network, photo).bokeh.clone()
    assert torch.equal(photo, before)
    assert torch.equal(render(network, photo).bokeh, first)


def test_gradient_reaches_every_trainable_parameter_the_same_with_activations_computed_again(case, trainable, render):
    photo = torch.rand(2, 3, 64, 96)  # two positions at a 64th of the size: attention among one alone is constant
    again = deepcopy(trainable)
    assert checkpoint_activations(again)
    for network in (trainable, again):
        torch.manual_seed(0)
        bokeh, aux = render(network, photo)
        errors = [bokeh - photo.flip(-1), *tensors({name: aux[name] for name in case.supervised})]
        torch.stack([error.square().mean() for error in errors]).sum().backward()
    silent = [n for n, p in trainable.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    # A bias before a normalisation without any other input is subtracted again: its gradient is rounding, or zero.
    assert [name for name in silent if not name.endswith("bias")] == []
    assert all(p.grad is not None for p in trainable.parameters() if p.requires_grad)
    grads = [{name: p.grad for name, p in network.named_parameters()} for network in (trainable, again)]
    torch.testing.assert_close(*grads, rtol=0, atol=0)
    torch.testing.assert_close(again.state_dict(), trainable.state_dict(), rtol=0, atol=0)


def test_one_step_lowers_the_loss(case, trainable, render, pair):
    photo, target = pair
    optimizer = torch.optim.Adam(trainable.parameters(), lr=case.first_lr)

    def loss():
        return (render(trainable, photo).bokeh - target).abs().mean()

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


@pytest.mark.slow
def test_one_pair_can_be_overfitted(case, trainable, render, pair):
    photo, target = pair
    left = 0.5  # equal weights everywhere would leave it where it was
    if case.residual:
        photo = torch.from_numpy(gaussian_filter(photo.numpy(), sigma=(0, 0, 4, 4)))
        photo = (photo - photo.amin()) / (photo.amax() - photo.amin())
        target, left = 1 - photo, 0.8  # and so would an equal residual everywhere
    optimizer = torch.optim.Adam(trainable.parameters(), lr=case.lr)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (render(trainable, photo).bokeh - target).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < left * losses[0]


@torch.no_grad()
def test_autocast_changes_little_and_returns_single_precision(network, render):
    photo = torch.rand(1, 3, 64, 64)
    expected = render(network, photo).bokeh
    with torch.autocast("cpu", torch.bfloat16):
        bokeh, aux = render(network, photo)
    assert all(tensor.dtype == torch.float32 for tensor in (bokeh, *tensors(aux)))
    torch.testing.assert_close(bokeh, expected, rtol=0, atol=0.05)


@torch.no_grad()
def test_channels_last_gives_the_same_bokeh(network, render):
    photo = torch.rand(2, 3, 48, 64)
    expected = render(network, photo).bokeh
    bokeh = render(network.to(memory_format=torch.channels_last), photo.to(memory_format=torch.channels_last)).bokeh
    torch.testing.assert_close(bokeh, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_copies_and_reloaded_states_render_the_same(case, network, render):
    photo = torch.rand(1, 3, 33, 40)
    expected = render(network, photo).bokeh
    torch.manual_seed(1)
    rebuilt = case.build().eval()
    rebuilt.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(render(deepcopy(network), photo).bokeh, expected)
    assert torch.equal(render(rebuilt, photo).bokeh, expected)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_smaller_photos_are_refused(network, render, size):
    with pytest.raises(RequestError, match=rf"32 pixels or more, but got {size[0]} × {size[1]}; enlarge"):
        render(network, torch.rand(1, 3, *size))


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-1, 1)])
def test_other_ranges_are_refused(network, render, low, high):
    photo = torch.linspace(low, high, 3 * 32 * 32).view(1, 3, 32, 32)
    with pytest.raises(RequestError, match=rf"in \[0, 1\], but got {low} to {high}; divide"):
        render(network, photo)
