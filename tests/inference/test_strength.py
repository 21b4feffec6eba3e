"""Strength of the blurs of networks that blend: it follows the aperture of pairs whose discs are known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lensblend.backbones.hourglass import Hourglass
from lensblend.data.camera import F_NUMBER, Camera
from lensblend.data.catalogue import Ebb, Folders
from lensblend.data.embedded import Embedded
from lensblend.data.lens import Layer, Lens, develop, pinhole, render
from lensblend.errors import RequestError
from lensblend.inference.rendering import render_photo
from lensblend.networks.depth_blend import DepthBlend
from lensblend.networks.ensemble import Ensemble
from lensblend.networks.multiscale_hierarchical import MultiscaleHierarchical
from lensblend.networks.saliency_blend import SaliencyBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.runs.checkpoints import Trained

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = (96, 144)


def two_planes():
    """A textured square in focus before a textured wall."""
    rng = np.random.default_rng(0)
    light = rng.random((2, *SIZE, 3), np.float32) ** 2
    near = np.zeros(SIZE, np.float32)
    near[30:66, 50:95] = 1
    flat = np.ones(SIZE, np.float32)
    return [Layer(light[0], flat, 0 * flat), Layer(light[1] * near[..., None], near, flat)], near


@pytest.mark.parametrize("f_number", [1.0, 2.0, 4.0])
def test_the_strength_that_scores_best_follows_the_aperture(f_number):
    """A disk of 9 pixels has a radius of 4: the wall's at f/2, if the aperture there is 8 pixels."""
    layers, near = two_planes()
    photo, target = develop(pinhole(layers)), develop(render(layers, Lens(1.0, 16.0 / f_number)))
    network = SaliencyBlend(KernelBank("disk", [9])).eval()
    scores = {}
    for strength in (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8):
        bokeh = render_photo(network, photo, SIZE, "photo", {"saliency": near}, strength).bokeh[0].numpy()
        scores[strength] = ((bokeh.transpose(1, 2, 0) - target / 255) ** 2).mean()
    assert min(scores, key=scores.get) == 2.0 / f_number


@pytest.mark.parametrize("blend_at", ["network", "photo"])
def test_blur_grows_as_the_f_number_falls(blend_at):
    layers, _ = two_planes()
    photo = develop(pinhole(layers))
    torch.manual_seed(0)
    network = DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5, 9])).eval()
    contrast = [
        float(render_photo(network, photo, (48, 72), blend_at, strength=F_NUMBER / n).bokeh.diff(dim=-1).abs().mean())
        for n in (1.0, 1.4, 2.0, 2.8, 4.0, 8.0)
    ]
    assert contrast == sorted(contrast)
    assert contrast[0] < 0.97 * contrast[-1]


def test_a_network_itself_is_not_changed_and_its_parameters_are_shared():
    network = DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3, 5, 9])).eval()
    wider = network.scaled(2.0)
    assert (network.bank.scale, wider.bank.scale) == (1.0, 2.0)
    assert all(a is b for a, b in zip(network.parameters(), wider.parameters(), strict=True))
    assert not wider.training


def test_members_of_an_ensemble_are_scaled():
    members = [SaliencyBlend(KernelBank(sizes=[size])) for size in (5, 9)]
    photo, saliency = torch.rand(1, 3, 40, 48), torch.zeros(1, 1, 40, 48)
    together = Ensemble(members).scaled(2.0)(photo, saliency=saliency).bokeh
    apart = torch.stack([member.scaled(2.0)(photo, saliency).bokeh for member in members]).mean(dim=0)
    torch.testing.assert_close(together, apart)


def test_fast_blurs_leave_the_network_as_it_is_and_reach_members():
    network = DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=[25, 45])).eval()
    quick = network.quick()
    assert (network.bank.fast, quick.bank.fast, quick.scaled(2.0).bank.fast) == (False, True, True)
    assert all(a is b for a, b in zip(network.parameters(), quick.parameters(), strict=True))
    together = Ensemble([SaliencyBlend(KernelBank(sizes=[size])) for size in (25, 45)]).quick()
    assert all(member.bank.fast for member in together.members)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            MultiscaleHierarchical(width=2),
            "MultiscaleHierarchical blends no blurs that could be faster, .*leave `fast` out",
        ),
        (SaliencyBlend(KernelBank("disk", sizes=[25])), "`fast` blurs are Gaussian, but `family` is disk"),
        (Ensemble([MultiscaleHierarchical(width=2)]), "blends no blurs that could be faster"),
    ],
)
def test_what_has_no_gaussian_blurs_has_no_fast_ones(network, said):
    with pytest.raises(RequestError, match=said):
        network.quick()


def test_what_has_no_blurs_is_told_so_and_at_strength_1_renders():
    network = MultiscaleHierarchical(width=2).eval()
    photo = np.zeros((40, 48, 3), np.uint8)
    render_photo(network, photo, (32, 48))
    with pytest.raises(RequestError, match="MultiscaleHierarchical blends no blurs whose kernels could be scaled"):
        render_photo(network, photo, (32, 48), strength=2.0)


@pytest.mark.parametrize("strength", [0, -1.0, float("nan"), float("inf")])
def test_a_strength_that_is_none_is_refused(strength):
    network = SaliencyBlend(KernelBank(sizes=[5]))
    with pytest.raises(RequestError, match="`strength` is positive and finite"):
        render_photo(network, np.zeros((40, 48, 3), np.uint8), (40, 48), strength=strength)


def trained(data):
    import yaml

    return Trained(SaliencyBlend(KernelBank(sizes=[5])), {"config": yaml.safe_dump(data)}, Path("run"), "", False)


@pytest.mark.parametrize(
    ("node", "f_number"),
    [
        ({"_target_": "lensblend.data.catalogue.Ebb", "root": "x"}, 2.88),
        ({"_target_": "lensblend.data.embedded.Embedded"}, 2.88),
        ({"_target_": "lensblend.data.photos.Photos", "root": "x"}, 2.88 * 0.012 / (0.009 * 0.03) ** 0.5),
        ({"_target_": "lensblend.data.photos.Photos", "root": "x", "radius": [0.024, 0.024]}, 1.44),
        ({"_target_": "lensblend.data.photos.Photos", "root": "x", "radius": "wide"}, None),
        ({"_target_": "lensblend.data.photos.Photos", "root": "x", "radius": [-1, 0.1]}, None),
        ({"_target_": "lensblend.data.photos.Photos", "root": "x", "radius": []}, None),
        ({"_target_": "lensblend.data.embedded.Embedded", "aperture": 0.048}, 1.44),
        ({"_target_": "lensblend.data.scenes.Scenes", "aperture": 0.0}, None),
        ({"_target_": "lensblend.data.catalogue.Folders", "photos": "x", "targets": "y"}, None),
        ({"_target_": "lensblend.data.catalogue.Folders", "photos": "x", "targets": "y", "f_number": 2.0}, 2.0),
        ({"_target_": "somebody.Elses"}, None),
    ],
)
def test_a_record_says_at_which_f_number_it_was_trained(node, f_number):
    found = trained({"data": node}).f_number
    assert found == (None if f_number is None else pytest.approx(f_number))
    assert trained({}).f_number is None


def test_a_data_sets_f_number_is_checked(tmp_path):
    with pytest.raises(RequestError, match="`f_number` is positive and finite, but got 0"):
        Folders(str(tmp_path), str(tmp_path), f_number=0)
    assert Ebb.f_number({}) == Embedded.f_number({"aperture": Camera.aperture}) == pytest.approx(1.8 * 1.6)
