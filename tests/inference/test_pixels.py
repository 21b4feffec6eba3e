"""Rendering piece by piece against rendering as a whole, and as many bits out as in."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from lensblend.backbones.hourglass import Hourglass
from lensblend.errors import RequestError
from lensblend.inference import pixels
from lensblend.inference.pixels import pieces, render_pixels
from lensblend.inference.rendering import render_photo
from lensblend.networks.depth_blend import DepthBlend
from lensblend.networks.joint_blend import JointBlend
from lensblend.networks.saliency_blend import SaliencyBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone, BokehNetwork, Rendering

pytestmark = pytest.mark.usefixtures("one_thread")

WORKING, SIZE, MOST = (48, 64), (150, 222), 7000
PHOTO = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


class Strided(Backbone):
    """Features at a quarter of the photo's size, of a photo whose sides are extended to multiples of four."""

    def __init__(self):
        super().__init__(3, stride=4)

    def forward(self, photo):
        return avg_pool2d(photo, 4, ceil_mode=True)


class Whole(BokehNetwork):
    """Renders whole photos only."""

    blends_full_size = True

    def forward(self, photo, full_photo=None):
        whole = photo if full_photo is None else full_photo
        return Rendering(whole.flip(-1), {"weights": whole})


def hourglass(**options):
    return DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5, 9]), **options)


def strided(family="disk"):
    bank = KernelBank(family, sizes=[3, 5, 9])
    return DepthBlend(Strided(), bank, linear_light=True, enlarge="guided", bleeding=False)


def joint():
    network = JointBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5]))
    torch.nn.init.constant_(network.alpha, 3.0)
    return network


def fast(**options):
    """At the photo's size, two of its kernels are decimated, by up to 4."""
    return DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 9, 21], fast=True), **options)


NETWORKS = {
    "published": hourglass,
    "linear light": lambda: hourglass(linear_light=True),
    "guided, without bleeding": strided,
    "guided, Gaussians": lambda: strided("gaussian"),
    "joint": joint,
    "saliency": lambda: SaliencyBlend(KernelBank(sizes=[9])),
    "without bleeding": lambda: hourglass(bleeding=False),
    "fast": lambda: fast(linear_light=True),
    "fast, without bleeding": lambda: fast(bleeding=False),
    "fast saliency": lambda: SaliencyBlend(KernelBank(sizes=[9], fast=True)),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    network = NETWORKS[request.param]().eval()
    for head in (part for name, part in network.named_modules() if name.endswith("head")):
        torch.nn.init.normal_(head.weight, std=2.0)
    return network


def maps(network):
    ramp = np.linspace(0, 1, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    return dict.fromkeys(network.guidance, ramp)


@pytest.mark.parametrize("most", [MOST, 10**9])
def test_pieces_are_what_the_whole_is_within_a_level(network, monkeypatch, most):
    monkeypatch.setattr(pixels, "_SMALLEST", 16)
    whole = render_photo(network, PHOTO, WORKING, "photo", maps(network))
    expected = whole.bokeh[0].permute(1, 2, 0).numpy() * 255
    bokeh, weights = render_pixels(network, PHOTO, WORKING, "photo", maps(network), weights=True, most=most)
    assert np.abs(expected - PHOTO).max() > 20  # something was blurred
    assert np.abs(bokeh - expected).max() < 0.51  # rounded to the nearest level, at seams as elsewhere
    for plane, weight in zip(weights, whole.aux["weights"][0], strict=True):
        assert np.abs(plane - 255 * weight.numpy()).max() < 0.51


def test_seams_would_be_seen_if_pieces_did_not_overlap(monkeypatch):
    torch.manual_seed(0)
    network = hourglass().eval()
    monkeypatch.setattr(pixels, "_SMALLEST", 16)
    whole = render_pixels(network, PHOTO, WORKING, "photo", {}).bokeh
    kept = pixels.pieces
    monkeypatch.setattr(pixels, "pieces", lambda size, radius, most, grid: kept(size, 0, most, grid))
    cut = render_pixels(network, PHOTO, WORKING, "photo", {}, most=MOST).bokeh
    assert np.abs(cut.astype(int) - whole).max() > 8


def test_nodes_lie_at_the_same_places_in_every_piece(monkeypatch):
    torch.manual_seed(0)
    network = fast().eval()
    monkeypatch.setattr(pixels, "_SMALLEST", 16)
    blended = network.full_size(torch.rand(1, 3, *WORKING), SIZE)
    parts = list(pieces(SIZE, blended.radius, MOST, blended.grid))
    assert blended.grid == 4
    assert len(parts) > 2
    assert any((piece.inner.top - blended.radius) % blended.grid for piece in parts if piece.outer.top)
    assert all(piece.outer.top % blended.grid == piece.outer.left % blended.grid == 0 for piece in parts)
    saliency = SaliencyBlend(KernelBank(sizes=[21], fast=True))
    assert saliency.full_size(torch.rand(1, 3, *WORKING), SIZE, saliency=torch.ones(1, 1, *WORKING)).grid == 4


@pytest.mark.parametrize("size", [(150, 222), (33, 700), (1000, 17), (64, 64), (8, 8)])
@pytest.mark.parametrize("radius", [0, 5, 40])
def test_pieces_cover_every_pixel_once_and_see_all_around_them(monkeypatch, size, radius):
    monkeypatch.setattr(pixels, "_SMALLEST", 16)
    seen, parts = np.zeros(size, int), list(pieces(size, radius, 5000))
    for inner, outer in parts:
        seen[inner.top : inner.top + inner.height, inner.left : inner.left + inner.width] += 1
        assert outer.top == max(0, inner.top - radius)
        assert outer.left == max(0, inner.left - radius)
        assert outer.top + outer.height == min(size[0], inner.top + inner.height + radius)
        assert outer.left + outer.width == min(size[1], inner.left + inner.width + radius)
        assert outer.height * outer.width <= 5000 or max(inner.height, inner.width) <= max(radius, 16)
    assert (seen == 1).all()


@pytest.mark.parametrize("at", ["network", "photo"])
def test_the_papers_way_and_whole_photos_are_rendered_as_ever(at):
    torch.manual_seed(0)
    network = Whole() if at == "photo" else hourglass().eval()
    expected = render_photo(network, PHOTO, WORKING, at).bokeh[0].permute(1, 2, 0).numpy() * 255
    bokeh, weights = render_pixels(network, PHOTO, WORKING, at, {}, weights=True, most=MOST)
    assert np.abs(bokeh - expected).max() < 0.51
    assert len(weights) == (3 if at == "photo" else 4)


@pytest.mark.parametrize("at", ["network", "photo"])
def test_sixteen_bits_are_blended_with_all_their_levels(network, at):
    rows = np.linspace(10_000, 11_000, SIZE[0])[:, None, None]  # four levels of 8 bits
    deep = np.broadcast_to(rows, (*SIZE, 3)).round().astype(np.uint16).copy()
    bokeh = render_pixels(network, deep, WORKING, at, maps(network)).bokeh
    assert bokeh.dtype == np.uint16
    levels = 4 if at == "network" else 100
    assert len(np.unique(bokeh)) > levels
    assert np.abs(bokeh.astype(int) - deep).max() < 400


def test_what_is_in_focus_keeps_its_sixteen_bits():
    torch.manual_seed(0)
    network = hourglass().eval()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.0, -1000, -1000, -1000]))
    deep = np.random.default_rng(1).integers(0, 65536, (*SIZE, 3)).astype(np.uint16)
    np.testing.assert_array_equal(render_pixels(network, deep, WORKING, "photo", {}).bokeh, deep)


def test_a_photo_smaller_than_a_network_takes_is_refused(network):
    with pytest.raises(RequestError, match="32 pixels or more, but got 31 × 222"):
        render_pixels(network, PHOTO[:31], WORKING, "photo", {n: m[:31] for n, m in maps(network).items()})


@pytest.mark.parametrize("size", [(33, 33), (40, 240)])
def test_black_tiny_and_narrow_photos_are_rendered(network, size):
    guidance = {name: plane[: size[0], : size[1]] for name, plane in maps(network).items()}
    if size[1] > SIZE[1]:
        guidance = {name: np.zeros(size, np.float32) for name in guidance}
    black = render_pixels(network, np.zeros((*size, 3), np.uint8), WORKING, "photo", guidance).bokeh
    assert black.shape == (*size, 3)
    assert black.max() == 0
