"""What every prior network keeps: one more prior is one more row of `PRIORS`."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from lensblend.backbones.hourglass import Hourglass
from lensblend.errors import RequestError, WeightsMissingError
from lensblend.inference.prior_maps import estimates
from lensblend.ops.edges import mask_edges
from lensblend.priors.basnet import Basnet
from lensblend.priors.depth_network import DepthNetwork
from lensblend.priors.dss import Dss
from lensblend.priors.scrn import Scrn

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Case:
    """How to build a prior at reduced width, how many maps it returns under each key, and how fast it overfits."""

    build: Callable[[], nn.Module]
    maps: dict[str, int]
    lr: float = 0.02


PRIORS = {
    "basnet": Case(lambda: Basnet(width_divisor=16), {"saliency_logits": 1, "side_logits": 8}, lr=0.005),
    "depth": Case(lambda: DepthNetwork(Hourglass(width_divisor=16)), {"log_depth": 1}),
    "dss": Case(lambda: Dss(width_divisor=8), {"saliency_logits": 1, "side_logits": 7}, lr=0.002),
    "scrn": Case(lambda: Scrn(width_divisor=8), {"saliency_logits": 1, "edge_logits": 1}),
}


@pytest.fixture(params=PRIORS)
def case(request):
    torch.manual_seed(0)
    return PRIORS[request.param]


@pytest.fixture
def network(case):
    return case.build().eval()


@pytest.fixture
def pair():
    """A bright disk on a darker ground, both noisy, and the disk's mask; as two photos, one upside down."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    mask = ((rows - 24).square() + (columns - 36).square() < 15**2).float()[None, None]
    photo = 0.3 + 0.4 * mask + 0.3 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return torch.cat([photo, photo.flip(-2)]), torch.cat([mask, mask.flip(-2)])


@pytest.fixture
def settled(network, pair):
    """With the statistics of the pair: without, products of what BatchNorm lets through unchanged would vanish."""
    with torch.no_grad():
        for _ in range(30):
            network.train()(pair[0])
    return network.eval()


def listed(maps):
    return maps if isinstance(maps, list) else [maps]


def truth_of(key, mask):
    """A mask is as good a log depth as any."""
    return {"edge_logits": mask_edges(mask), "log_depth": -mask}.get(key, mask)


def total_loss(outputs, mask):
    """Sum over all maps: L1 for log depth, cross entropy for logits."""
    losses = {"log_depth": l1_loss}
    return sum(
        losses.get(key, binary_cross_entropy_with_logits)(predicted, truth_of(key, mask))
        for key, maps in outputs.items()
        for predicted in listed(maps)
    )


def flat_maps(case, mask):
    """The constant maps of the smallest loss, which know the mask's size but not its place."""
    flat = {key: truth_of(key, mask).mean().logit().expand_as(mask) for key in case.maps if key != "log_depth"}
    flat |= {key: torch.zeros_like(mask) for key in case.maps if key == "log_depth"}
    return {key: [constant] * case.maps[key] for key, constant in flat.items()}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (75, 50)])
@torch.no_grad()
def test_maps_have_the_photos_size(case, network, size):
    outputs = network(torch.rand(2, 3, *size))
    assert {key: len(listed(maps)) for key, maps in outputs.items()} == case.maps
    for predicted in (predicted for maps in outputs.values() for predicted in listed(maps)):
        assert predicted.shape == (2, 1, *size)
        assert predicted.dtype == torch.float32
        assert predicted.std() > 0


@torch.no_grad()
def test_what_a_network_says_of_itself_is_so(network, tmp_path):
    assert not network.renders
    assert network.guidance == ()
    assert set(network.estimates) == set(estimates(network(torch.rand(1, 3, 33, 40))))
    with pytest.raises((WeightsMissingError, RequestError), match=r"none\.pth|width_divisor=1"):
        network.load_published(tmp_path / "none.pth")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_photos_give_finite_maps_and_gradients(network, value):
    outputs = network.train()(torch.full((2, 3, 64, 64), value))
    total_loss(outputs, torch.ones(2, 1, 64, 64)).backward()
    assert all(predicted.isfinite().all() for maps in outputs.values() for predicted in listed(maps))
    assert all(p.grad.isfinite().all() for p in network.parameters())


@torch.no_grad()
def test_a_photo_gives_the_same_maps_alone_and_in_a_batch(settled, pair):
    photos = torch.cat([pair[0], pair[0][:1].flip(-1)])[..., :50]
    together = settled(photos)
    for index in range(3):
        alone = settled(photos[index : index + 1])
        for key, maps in together.items():
            for expected, predicted in zip(listed(maps), listed(alone[key]), strict=True):
                spread = expected.std().item()
                assert (expected[index] - expected[index - 1]).abs().max() > 0.1 * spread
                torch.testing.assert_close(predicted[0], expected[index], rtol=0, atol=1e-4 * min(1.0, spread))


@torch.no_grad()
def test_the_photo_is_left_as_it_was_and_maps_repeat(network):
    photo = torch.rand(1, 3, 40, 40)
    before = photo.clone()
    first = {key: torch.stack(listed(maps)) for key, maps in network(photo).items()}
    assert torch.equal(photo, before)
    assert all(torch.equal(torch.stack(listed(maps)), first[key]) for key, maps in network(photo).items())


def taken_out(network):
    """Biases right before a BatchNorm, which takes out what they add: in training, rounding alone reaches them."""
    chains = [(name, list(part)) for name, part in network.named_modules() if isinstance(part, nn.Sequential)]
    pairs = [(f"{name}.{i}", a, b) for name, parts in chains for i, (a, b) in enumerate(pairwise(parts))]
    return {f"{n}.bias" for n, a, b in pairs if isinstance(a, nn.Conv2d) and isinstance(b, nn.BatchNorm2d)}


def test_gradient_reaches_every_trainable_parameter(network, pair):
    photo, mask = pair
    total_loss(network.train()(photo), mask).backward()
    trained = {n: p.grad for n, p in network.named_parameters() if p.requires_grad}
    assert [n for n, grad in trained.items() if grad is None] == []
    assert [n for n, grad in trained.items() if n not in taken_out(network) and not grad.any()] == []


def test_one_step_lowers_the_loss(network, pair):
    photo, mask = pair
    optimizer = torch.optim.Adam(network.train().parameters(), lr=0.0005)
    before = total_loss(network(photo), mask)
    before.backward()
    optimizer.step()
    assert total_loss(network(photo), mask) < before


@pytest.mark.slow
def test_a_pair_can_be_overfitted(case, network, pair):
    photo, mask = pair
    optimizer = torch.optim.Adam(network.train().parameters(), lr=case.lr)
    losses = []
    for _ in range(45):
        optimizer.zero_grad()
        loss = total_loss(network(photo), mask)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.5 * total_loss(flat_maps(case, mask), mask).item(), losses[::10]


@torch.no_grad()
def test_autocast_changes_little_and_returns_single_precision(settled, pair):
    photo, _ = pair
    expected = settled(photo)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = settled(photo)
    for key, maps in outputs.items():
        for predicted, exact in zip(listed(maps), listed(expected[key]), strict=True):
            assert predicted.dtype == torch.float32
            assert (predicted - exact).abs().mean() < 0.2 * exact.std()


@torch.no_grad()
def test_copies_and_reloaded_states_give_the_same_maps(case, settled):
    photo = torch.rand(1, 3, 33, 40)
    expected = settled(photo)
    torch.manual_seed(1)
    rebuilt = case.build().eval()
    rebuilt.load_state_dict(settled.state_dict(), strict=True)
    for copy in (deepcopy(settled), rebuilt):
        for key, maps in copy(photo).items():
            assert torch.equal(torch.stack(listed(maps)), torch.stack(listed(expected[key])))


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_smaller_photos_are_refused(network, size):
    with pytest.raises(RequestError, match=rf"32 pixels or more, but got {size[0]} × {size[1]}; enlarge"):
        network(torch.rand(1, 3, *size))


def test_other_ranges_are_refused(network):
    with pytest.raises(RequestError, match=r"in \[0, 1\], but got 0 to 255; divide"):
        network(torch.linspace(0, 255, 3 * 32 * 32).view(1, 3, 32, 32))
