"""A photo on its side is rendered as it is when it lies: whatever works at another size turns with it."""

import numpy as np
import pytest
import torch

from lensblend.data.pairs import Pair, Pairs
from lensblend.data.samples import Resized
from lensblend.data.sizes import turned
from lensblend.inference.prior_maps import estimate
from lensblend.inference.rendering import render_photo
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import BokehNetwork, PriorNetwork, Rendering

WORKING = (64, 96)


class Blurring(BokehNetwork):
    """Renders the widest blur of a bank: what it spreads a point to is what the working size makes of it."""

    blends_full_size = True

    def __init__(self):
        super().__init__()
        self.bank = KernelBank(sizes=[9])
        self.seen = []

    def forward(self, photo, full_photo=None, saliency=None):
        self.seen.append((tuple(photo.shape[-2:]), None if saliency is None else saliency[0, 0].clone()))
        whole = photo if full_photo is None else full_photo
        return Rendering(self.bank(whole)[:, -1], {})


class Redness(PriorNetwork):
    estimates = ("saliency",)

    def forward(self, photo):
        return {"saliency_logits": photo[:, :1] * 4 - 2}


def point(height=192, width=288):
    photo = np.zeros((height, width, 3), np.uint8)
    photo[height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = 255
    return photo


def spread(picture):
    """Return the standard deviations of a point's light, vertical and horizontal."""
    rows, columns = np.indices(picture.shape)
    share = picture / picture.sum()
    return [float(np.sqrt((share * (place - (share * place).sum()) ** 2).sum())) for place in (rows, columns)]


@pytest.mark.parametrize("blend_at", ["network", "photo"])
def test_a_point_spreads_round_in_portrait_as_in_landscape(blend_at):
    lying, standing = (
        render_photo(Blurring(), photo, WORKING, blend_at).bokeh[0, 0].numpy()
        for photo in (point(), np.ascontiguousarray(point().swapaxes(0, 1)))
    )
    assert np.abs(lying.T - standing).max() < 2 / 255
    vertical, horizontal = spread(standing)
    assert vertical / horizontal == pytest.approx(1, abs=0.02)


def test_guidance_turns_with_the_photo():
    network, plane = Blurring(), np.linspace(0, 1, 192 * 288, dtype=np.float32).reshape(192, 288)
    for photo, saliency in ((point(), plane), (point().swapaxes(0, 1), plane.T)):
        maps = {"saliency": np.ascontiguousarray(saliency)}
        render_photo(network, np.ascontiguousarray(photo), WORKING, guidance=maps)
    (lying, below), (standing, beside) = network.seen
    assert (lying, standing) == (WORKING, WORKING[::-1])
    assert torch.allclose(below.T, beside, atol=1e-5)


def test_maps_of_prior_networks_turn_with_the_photo():
    photo = np.random.default_rng(0).integers(0, 256, (192, 288, 3), dtype=np.uint8)
    lying = estimate(Redness(), photo, WORKING)["saliency"]
    standing = estimate(Redness(), np.ascontiguousarray(photo.swapaxes(0, 1)), WORKING)["saliency"]
    assert lying.shape == WORKING
    assert np.abs(lying.T - standing).max() < 0.02  # Pillow resizes one axis after the other, in 8 bits


def test_pairs_seen_at_the_networks_size_turn_with_the_photo():
    class Both(Pairs):
        ids = ("lying", "standing", "square")

        def load(self, index, epoch=0):
            photo = np.zeros([(20, 30, 3), (30, 20, 3), (20, 20, 3)][index], np.uint8)
            return Pair(self.ids[index], photo, photo)

    seen = [Resized(Both(), (8, 12)).load(index).photo.shape[:2] for index in range(3)]
    assert seen == [(8, 12), (12, 8), (8, 12)]


@pytest.mark.parametrize(
    ("working", "photo", "expected"),
    [
        ((8, 12), (20, 30), (8, 12)),
        ((8, 12), (30, 20), (12, 8)),
        ((12, 8), (20, 30), (8, 12)),
        ((12, 8), (30, 20), (12, 8)),
        ((8, 12), (30, 30), (8, 12)),
        ((8, 8), (30, 20), (8, 8)),
    ],
)
def test_a_working_size_stands_where_the_photo_stands(working, photo, expected):
    assert turned(working, photo) == expected
