"""A network that derives from the contract and has a `forward`, and nothing else, can do what any other can."""

import numpy as np
import pytest
import torch
from torch import nn

from lensblend.data.files import FilePairs, PairFiles
from lensblend.data.images import write_image
from lensblend.data.pairs import Pair, Pairs, Source
from lensblend.errors import RequestError
from lensblend.inference import guidance, guided_pairs
from lensblend.inference.evaluation import score_network
from lensblend.inference.rendering import render_photo
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.metrics.fidelity import Psnr
from lensblend.networks.ensemble import Ensemble
from lensblend.nn.rendering import Backbone, BokehNetwork, PriorNetwork, Rendering
from lensblend.priors.depth_network import DepthNetwork
from lensblend.runs.checkpoints import Trained, check_renders, start_from
from lensblend.training.restoration import Restoration


class Own(BokehNetwork):
    """The photo times a number."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, photo):
        return Rendering(photo * self.gain, {"weights": torch.ones_like(photo[:, :2]) / 2})


class Noise(Pairs):
    ids = ("a",)

    def load(self, index, epoch=0):
        return Pair("a", *np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8))


class Noises(Source):
    def split(self, name):
        return Noise()


def test_it_renders_and_is_scored():
    shown = []
    scores = score_network(
        Own().eval(), {"psnr": Psnr()}, Noise(), [0], (32, 32), "network", lambda *seen: shown.append(seen)
    )
    assert scores["a"]["psnr"] > 0
    assert [name for name in shown[0][2] if name.startswith("W")] == ["W0", "W1"]
    with pytest.raises(RequestError, match="Own cannot blend at full resolution; use `blend_at=network`"):
        render_photo(Own(), Noise().load(0).photo, (32, 32), "photo")
    assert Own().reference_bank is None


def test_it_trains_and_is_pictured():
    pair = Noise().load(0)
    photo, target = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (pair.photo, pair.target))
    loss = WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}})
    module = Restoration(Own(), loss, {"psnr": Psnr()}, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    batch = {"photo": photo, "target": target}
    assert module.answer(batch)["bokeh"].requires_grad
    pictures, scores = module.picture(batch)
    assert {"photo", "target", "bokeh"} < set(pictures)
    assert scores["psnr"] > 0


def test_a_map_of_any_name_reaches_a_network_that_asks_for_it(tmp_path):
    class Guided(BokehNetwork):
        guidance = ("normals",)

        def forward(self, photo, normals):
            return Rendering(self.in_range(photo + 2 * normals), {})

    normals = np.full((40, 48), 1.0, np.float32)
    write_image(tmp_path / "a.png", Noise().load(0).photo)
    np.save(tmp_path / "a.npy", normals)
    files = PairFiles("a", tmp_path / "a.png", tmp_path / "a.png", {"normals": tmp_path / "a.npy"})
    pairs = guided_pairs.Guided(FilePairs([files]), {"slopes": guidance.Truth("normals")})
    assert {n: p.mean() for n, p in pairs.load(0).maps.items()} == {"normals": 1.0, "slopes": 1.0}
    assert np.array_equal(guidance.Truth("normals")(pairs.load(0)), normals)
    pixels = []
    score_network(Guided().eval(), {}, pairs, [0], (32, 32), "network", lambda _, r, *__: pixels.append(r.bokeh))
    assert pixels[0].min() == pytest.approx(1.0, abs=1e-6)  # enlarged again
    assert pixels[0].max() <= 1.0 + 1e-6  # clamped in evaluation
    assert Guided().train()(torch.ones(1, 3, 32, 32), torch.ones(1, 1, 32, 32)).bokeh.max() == 3.0


def test_it_is_a_member_of_an_ensemble_and_out_of_a_checkpoint(tmp_path):
    assert Ensemble([Own(), Own()]).eval()(torch.rand(1, 3, 32, 32)).bokeh.shape == (1, 3, 32, 32)
    assert isinstance(check_renders(Trained(Own(), {}, tmp_path, "")), Own)


def test_a_file_of_its_authors_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "theirs.pth").write_bytes(b"weights")
    for network in (Own(), PriorNetwork()):
        kind = type(network).__name__
        with pytest.raises(RequestError, match=rf"theirs\.pth is no checkpoint .* authors of {kind} .*give a \.ckpt"):
            start_from(network, tmp_path / "theirs.pth")


def test_a_prior_renders_nothing(tmp_path):
    class Depth(PriorNetwork):
        estimates = ("disparity",)

    with pytest.raises(RequestError, match="holds Depth, which estimates disparity, not bokeh"):
        check_renders(Trained(Depth(), {}, tmp_path, ""))


def test_a_backbone_cannot_leave_out_its_channels():
    class Own(Backbone):
        def __init__(self):
            super().__init__(5)

    assert DepthNetwork(Own()).head.in_channels == 5
    with pytest.raises(TypeError, match="out_channels"):
        Backbone()


def test_a_source_says_how_much_is_there():
    assert Noises().summary() == "Data: 1 training and 1 validation pairs"
    assert not Noises().endless
