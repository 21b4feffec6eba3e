"""The mean of members by NumPy, and who renders while some are frozen."""

import numpy as np
import pytest
import torch
from torch import nn

from lensblend.errors import RequestError
from lensblend.networks.ensemble import Ensemble
from lensblend.networks.multiscale_hierarchical import MultiscaleHierarchical
from lensblend.networks.saliency_blend import SaliencyBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import BokehNetwork, Rendering

pytestmark = pytest.mark.usefixtures("one_thread")


class Gain(BokehNetwork):
    """Render the photo times a number, and note what was given."""

    guidance = ("disparity",)
    takes_coordinates = True

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.given = []

    def forward(self, photo, disparity, coordinates=None):
        self.given.append({"disparity": disparity, "coordinates": coordinates})
        return Rendering(self.gain * photo, {"weights": disparity})


class Plain(Gain):
    """The same from the photo alone."""

    guidance = ()
    takes_coordinates = False

    def forward(self, photo):
        self.given.append({})
        return Rendering(self.gain * photo, {"pyramid": [photo[..., ::2, ::2]]})


@pytest.fixture
def photo():
    return torch.from_numpy(np.random.default_rng(0).random((2, 3, 32, 48), dtype=np.float32))


@pytest.mark.parametrize(("shares", "gain"), [(None, 0.7), ([1.0, 1.0, 2.0], 0.8), ([30.0, 10.0, 10.0], 0.52)])
@torch.no_grad()
def test_the_bokeh_is_the_mean_by_shares(photo, shares, gain):
    bokeh, aux = Ensemble([Plain(0.25), Plain(0.75), Plain(1.1)], shares)(photo)
    np.testing.assert_allclose(bokeh, gain * photo.numpy(), rtol=1e-6)
    assert list(aux) == ["members"]
    for ours, single in zip(aux["members"], (0.25, 0.75, 1.1), strict=True):
        np.testing.assert_allclose(ours, single * photo.numpy(), rtol=1e-6)


@torch.no_grad()
def test_equal_members_render_as_one(photo):
    torch.manual_seed(0)
    members = [MultiscaleHierarchical(width=2).eval() for _ in range(3)]
    for member in members[1:]:
        member.load_state_dict(members[0].state_dict())
    torch.testing.assert_close(Ensemble(members).eval()(photo).bokeh, members[0](photo).bokeh, rtol=0, atol=1e-6)


def test_one_member_returns_what_it_returns_alone(photo):
    member = MultiscaleHierarchical(width=2)
    alone, ours = member(photo), Ensemble([member], [3.0])(photo)
    assert torch.equal(ours.bokeh, alone.bokeh)
    assert all(torch.equal(a, b) for a, b in zip(ours.aux["pyramid"], alone.aux["pyramid"], strict=True))


def test_only_members_that_are_trained_render(photo):
    members = [Plain(0.25), Plain(0.5), Plain(1.0)]
    ensemble = Ensemble(members, [1.0, 1.0, 3.0])
    members[0].requires_grad_(False)
    members[2].requires_grad_(False)
    bokeh, aux = ensemble(photo)
    assert torch.equal(bokeh, 0.5 * photo)
    assert list(aux) == ["pyramid"]
    assert [len(member.given) for member in members] == [0, 1, 0]
    bokeh.mean().backward()
    assert [member.gain.grad is not None for member in members] == [False, True, False]
    members[2].requires_grad_(True)
    np.testing.assert_allclose(ensemble(photo).bokeh.detach(), (0.25 * 0.5 + 0.75) * photo.numpy(), rtol=1e-6)
    assert [len(member.given) for member in members] == [0, 2, 1]


@pytest.mark.parametrize("trained", [True, False])
def test_all_render_where_all_or_none_are_trained(photo, trained):
    members = [Plain(0.25), Plain(0.75)]
    ensemble = Ensemble(members).requires_grad_(trained).eval()
    np.testing.assert_allclose(ensemble(photo).bokeh.detach(), 0.5 * photo.numpy(), rtol=1e-6)
    assert [len(member.given) for member in members] == [1, 1]


def test_a_member_is_trained_while_one_of_its_parameters_is(photo):
    members = [MultiscaleHierarchical(width=2), Plain(0.5)]
    ensemble = Ensemble(members)
    members[0].hierarchies[0].encoders.requires_grad_(False)
    members[1].requires_grad_(False)
    assert len(ensemble(photo).aux["pyramid"]) == 2
    assert members[1].given == []


def test_a_member_without_parameters_is_not_frozen(photo):
    saliency = torch.ones(2, 1, 32, 48)  # keeps the photo
    ensemble = Ensemble([SaliencyBlend(KernelBank(sizes=[9])), Plain(0.5), Plain(0.1)])
    np.testing.assert_allclose(ensemble(photo, saliency=saliency).bokeh.detach(), 1.6 / 3 * photo.numpy(), rtol=1e-5)
    ensemble.members[2].requires_grad_(False)
    np.testing.assert_allclose(ensemble(photo, saliency=saliency).bokeh.detach(), 0.75 * photo.numpy(), rtol=1e-5)


def test_each_member_gets_what_it_asks_for(photo):
    members = [Gain(0.5), SaliencyBlend(KernelBank(sizes=[9])), Plain(0.5), Gain(0.7)]
    ensemble = Ensemble(members)
    assert ensemble.guidance == ("disparity", "saliency")
    assert ensemble.takes_coordinates
    maps = {name: torch.rand(2, 1, 32, 48) for name in ensemble.guidance}
    coordinates = torch.rand(2, 2, 32, 48)
    bokeh = ensemble(photo, coordinates=coordinates, **maps).bokeh
    blended = members[1](photo, saliency=maps["saliency"]).bokeh
    np.testing.assert_allclose(bokeh.detach(), (1.7 * photo + blended) / 4, rtol=1e-5)
    for member in (members[0], members[3]):
        assert member.given[0]["disparity"] is maps["disparity"]
        assert member.given[0]["coordinates"] is coordinates
    assert members[2].given == [{}]


def test_members_that_need_nothing_ask_for_nothing():
    ensemble = Ensemble([Plain(0.5)])
    assert ensemble.guidance == ()
    assert not ensemble.takes_coordinates


@pytest.mark.parametrize("maps", [["saliency"], [], ["disparity", "saliency"]])
def test_missing_and_unwanted_maps_are_named(photo, maps):
    with pytest.raises(RequestError, match=r"take \['disparity'\] beside the photo, but got .*; pass these"):
        Ensemble([Gain(0.5)])(photo, **{name: photo[:, :1] for name in maps})


@pytest.mark.parametrize("shares", [[1.0], [1.0, 2.0, 3.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("inf")]])
def test_shares_are_positive_and_one_for_each(shares):
    with pytest.raises(RequestError, match=r"a positive number for each of 2 members, but got \[1.0.*leave out"):
        Ensemble([Plain(0.5), Plain(0.5)], shares)


def test_an_ensemble_is_not_empty():
    with pytest.raises(RequestError, match="one network at least, but got none"):
        Ensemble([])
