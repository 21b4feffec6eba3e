import itertools

import pytest
import torch
from torch import nn

from lensblend.backbones.hourglass import Hourglass
from lensblend.errors import RequestError
from lensblend.inference.flipped import augmented
from lensblend.inference.rendering import render_photo
from lensblend.networks.depth_blend import DepthBlend
from lensblend.networks.predictive_filter import PredictiveFilter
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.ops.coordinates import coordinate_maps


class Brightened(BokehNetwork):
    """Flips with its photo: each pixel times its saliency."""

    guidance = ("saliency",)

    def forward(self, photo, saliency):
        return Rendering(photo * saliency, {"weights": torch.cat([saliency, 1 - saliency], dim=1)})


class Convolved(BokehNetwork):
    """Does not flip with its photo: a lopsided kernel, of photo and map."""

    guidance = ("saliency",)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, photo, saliency):
        return Rendering(self.layer(torch.cat([photo, saliency], dim=1)).sigmoid(), {"mask": saliency})


@pytest.fixture
def seen():
    torch.manual_seed(0)
    return torch.rand(2, 3, 32, 40), torch.rand(2, 1, 32, 40)


def flips():
    """The four ways to exchange left and right, and top and bottom."""
    return [
        tuple(d for d, on in zip((-2, -1), chosen, strict=True) if on) for chosen in itertools.product((0, 1), repeat=2)
    ]


@torch.no_grad()
def test_what_flips_with_its_photo_renders_as_before_bit_for_bit(seen):
    photo, saliency = seen
    network = Brightened().eval()
    plain, mean = network(photo, saliency), augmented(network, "flips")(photo, saliency=saliency)
    assert torch.equal(mean.bokeh, plain.bokeh)
    assert torch.equal(mean.aux["weights"], plain.aux["weights"])
    assert augmented(network, "none") is network


@torch.no_grad()
def test_any_network_renders_the_mean_of_four(seen):
    photo, saliency = seen
    network = Convolved().eval()
    each = [network(photo.flip(axes), saliency.flip(axes)).bokeh.flip(axes) for axes in flips()]
    found = augmented(network, "flips")(photo, saliency=saliency)
    torch.testing.assert_close(found.bokeh, torch.stack(each).mean(dim=0), rtol=0, atol=1e-6)
    assert (found.bokeh - each[0]).abs().max() > 1e-3
    assert found.aux == {}


@torch.no_grad()
def test_coordinates_are_flipped_as_training_flips_them(seen):
    photo, _ = seen
    torch.manual_seed(1)
    network = PredictiveFilter(width=4).eval()
    places = coordinate_maps(32, 40).expand(2, -1, -1, -1)
    each = [network(photo.flip(a), coordinates=places.flip(a)).bokeh.flip(a) for a in flips()]
    without = [network(photo.flip(a)).bokeh.flip(a) for a in flips()]
    mean = augmented(network, "flips")(photo).bokeh
    torch.testing.assert_close(mean, torch.stack(each).mean(dim=0), rtol=0, atol=1e-6)
    assert (torch.stack(without).mean(dim=0) - mean).abs().max() > 1e-6


def test_a_blend_at_the_photos_size_is_flipped_as_a_whole(seen):
    torch.manual_seed(2)
    bank = KernelBank(sizes=[3, 5])
    network = DepthBlend(backbone=Hourglass(width_divisor=16), bank=bank).eval()
    photo = (torch.rand(64, 80, 3) * 255).byte().numpy()

    def turned(axes):
        return photo[:: -1 if 0 in axes else 1, :: -1 if 1 in axes else 1].copy()

    each = []
    for axes in ((), (0,), (1,), (0, 1)):
        bokeh = render_photo(network, turned(axes), (32, 40), "photo").bokeh
        each.append(bokeh.flip([axis - 2 for axis in axes]))
    mean = render_photo(augmented(network, "flips"), photo, (32, 40), "photo")
    torch.testing.assert_close(mean.bokeh, torch.stack(each).mean(dim=0), rtol=0, atol=2e-3)
    assert mean.bokeh.shape == (1, 3, 64, 80)
    stronger = render_photo(augmented(network, "flips"), photo, (32, 40), "photo", strength=2.0).bokeh
    assert (stronger - mean.bokeh).abs().max() > 1e-3


def test_another_way_is_refused():
    with pytest.raises(RequestError, match="`tta` is one of none, flips, but got 'turns'"):
        augmented(Brightened(), "turns")
