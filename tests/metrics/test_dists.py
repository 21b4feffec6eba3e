from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchmetrics.functional.image import dists as theirs
from torchmetrics.functional.image.lpips import _LPIPS

from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.metrics.dists import Dists
from lensblend.metrics.perceptual import LpipsVgg


@pytest.fixture(scope="module")
def trunk():
    """VGG-16's convolutions with seeded random values that let signals through."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"]).eval()
        for layer in features:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)
                torch.nn.init.normal_(layer.bias, std=0.1)
    return features


@pytest.fixture(scope="module")
def vgg16(trunk, tmp_path_factory):
    """A file like torchvision's, whose classifier nobody uses."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    state = {f"features.{name}": value for name, value in trunk.state_dict().items()}
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, path)
    return str(path)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, 3, 45, 64))
    y = np.clip(x + rng.normal(0, [[[[4]]], [[[30]]], [[[90]]]], x.shape).round(), 0, 255).astype(int)
    return x, y


def batch(levels):
    return torch.from_numpy(levels / 255).float()


def expected_dists(trunk, x, y):
    """Ding et al., equations 2 to 6, image by image and map by map in float64; convolutions are torchvision's."""
    shares = torch.load(Path(theirs.__file__).parent / "dists_models" / "weights.pt", map_location="cpu")
    alpha, beta = (shares[name].detach().double().numpy().ravel() for name in ("alpha", "beta"))
    total = alpha.sum() + beta.sum()
    mean, std = (np.array(v).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    def pooled(maps):
        window = np.outer([1, 2, 1], [1, 2, 1]) / 16
        height, width = maps.shape[1:]
        around = np.pad(maps**2, ((0, 0), (1, 1), (1, 1)))
        rows, columns = range(0, height, 2), range(0, width, 2)
        found = [[(window * around[:, i : i + 3, j : j + 3]).sum((1, 2)) for j in columns] for i in rows]
        return np.sqrt(np.array(found).transpose(2, 0, 1) + 1e-12)

    def stages(levels):
        found, maps = [levels / 255], (levels / 255 - mean) / std
        for layer in list(trunk)[:-1]:
            if isinstance(layer, torch.nn.MaxPool2d):
                found.append(maps)
                maps = pooled(maps)
            else:
                with torch.no_grad():
                    maps = layer(torch.from_numpy(maps)[None])[0].numpy().copy()
        return [*found, maps]

    trunk.double()
    values = []
    for a, b in zip(x, y, strict=True):
        alike = 0.0
        index = 0
        for stage_a, stage_b in zip(stages(a), stages(b), strict=True):
            for p, q in zip(stage_a, stage_b, strict=True):
                texture = (2 * p.mean() * q.mean() + 1e-6) / (p.mean() ** 2 + q.mean() ** 2 + 1e-6)
                covariance = ((p - p.mean()) * (q - q.mean())).mean()
                structure = (2 * covariance + 1e-6) / (p.var() + q.var() + 1e-6)
                alike += (alpha[index] * texture + beta[index] * structure) / total
                index += 1
        values.append(1 - alike)
    trunk.float()
    return values


def test_dists_is_that_of_the_definition_and_of_torchmetrics(trunk, vgg16, images, monkeypatch):
    metric = Dists(weights=vgg16)
    ours = metric.per_image(*map(batch, images))
    expected = expected_dists(trunk, *images)
    assert min(expected) > 1e-4  # otherwise the comparison below says nothing
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)

    class Built:
        features = trunk

    monkeypatch.setattr(theirs, "vgg16", lambda weights: Built)
    other = theirs.DISTSNetwork()
    torch.testing.assert_close(ours, other(*map(batch, images)).detach(), rtol=1e-4, atol=1e-5)
    same = batch(images[0])
    assert metric.per_image(same, same).abs().max() < 1e-5
    assert list(metric.parameters()) == []
    assert metric.state_dict() == {}


def test_lpips_of_vgg_is_torchmetrics_with_the_same_trunk(trunk, vgg16, images):
    with torch.random.fork_rng(devices=[]):
        other = _LPIPS(pretrained=True, net="vgg", pnet_rand=True).eval()
    state = {key: trunk.state_dict()[key.split(".", 2)[2]] for key in other.state_dict() if key.startswith("net.")}
    other.load_state_dict(state, strict=False)
    x, y = map(batch, images)
    with torch.no_grad():
        expected = other(2 * x - 1, 2 * y - 1).view(-1)
    assert expected.min() > 1e-4
    torch.testing.assert_close(LpipsVgg(weights=vgg16).per_image(x, y), expected, rtol=1e-4, atol=1e-6)
    assert (LpipsVgg.name, LpipsVgg.heading) == ("lpips_vgg", "LPIPS (VGG)")


def test_the_layers_are_those_of_torchvisions_file(trunk):
    with torch.device("meta"):
        published = torchvision.models.vgg16(weights=None).features
    assert {k: v.shape for k, v in trunk.state_dict().items()} == {
        k: v.shape for k, v in published.state_dict().items()
    }


@pytest.mark.parametrize("metric", [Dists, LpipsVgg])
def test_what_is_no_vgg16_is_refused_and_nothing_is_made_up(metric, vgg16, tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissingError, match=r"vgg16-397923af\.pth"):
        metric()
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, other)
    with pytest.raises(DataError, match=r"other\.pth is no VGG-16: .*use torchvision's vgg16-397923af\.pth"):
        metric(weights=str(other))


def test_photos_below_the_pooling_are_refused(vgg16):
    small = torch.zeros(1, 3, 31, 40)
    with pytest.raises(RequestError, match=r"`dists` are at least 32×32 pixels"):
        Dists(weights=vgg16).per_image(small, small)
