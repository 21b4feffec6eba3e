from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
import torchvision

from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.metrics.perceptual import Lpips

HEADS = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/alex.pth"


@pytest.fixture(scope="module")
def trunk() -> torch.nn.Sequential:
    """AlexNet's convolutions with seeded random values, scaled so that all five layers have something to say."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = torchvision.models.alexnet(weights=None).features.eval()
        for layer in features:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)
                torch.nn.init.normal_(layer.bias, std=0.1)
    return features


@pytest.fixture(scope="module")
def alexnet(trunk: torch.nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file like torchvision's, whose classifier LPIPS does not use."""
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    state = {f"features.{name}": value for name, value in trunk.state_dict().items()}
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, path)
    return str(path)


@pytest.fixture(scope="module")
def lpips(alexnet: str) -> Lpips:
    return Lpips(weights=alexnet)


def expected_lpips(trunk: torch.nn.Sequential, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Zhang et al., equation 1, in float64: 8-bit images (b, 3, h, w), torchvision's layers, NumPy for the rest."""
    heads = torch.load(HEADS, map_location="cpu", weights_only=True)
    shift, scale = (np.array(v)[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))

    def features(levels: np.ndarray) -> list[np.ndarray]:
        outputs, value = [], torch.from_numpy((levels / 255 * 2 - 1 - shift) / scale)
        with torch.no_grad():
            for layer in trunk.double():
                value = layer(value).clone()
                if isinstance(layer, torch.nn.ReLU):
                    outputs.append(value.clone().numpy())
        trunk.float()
        return [output / np.sqrt((output**2).sum(1, keepdims=True) + 1e-8) for output in outputs]

    distance = np.zeros(len(x))
    for i, (a, b) in enumerate(zip(features(x), features(y), strict=True)):
        head = heads[f"lin{i}.model.1.weight"].double().numpy().reshape(1, -1, 1, 1)
        distance += (head * (a - b) ** 2).sum(axis=1).mean(axis=(1, 2))
    return distance


def test_value_is_that_of_the_definition(trunk: torch.nn.Sequential, lpips: Lpips) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, 3, 64, 81))
    y = np.clip(x + rng.normal(0, [[[[5]]], [[[30]]], [[[90]]]], x.shape).round(), 0, 255).astype(int)
    expected = expected_lpips(trunk, x, y)
    assert expected.min() > 1e-4  # otherwise the comparison below says nothing
    ours = lpips.per_image(*(torch.from_numpy(levels / 255).float() for levels in (x, y)))
    np.testing.assert_allclose(ours, expected, rtol=2e-5)


def test_the_metric_is_the_mean_of_images(lpips: Lpips) -> None:
    bokeh, target = torch.rand(2, 3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    values = [lpips.per_image(bokeh[i : i + 1], target[i : i + 1]).item() for i in range(3)]
    metric = lpips.clone()
    metric.update(bokeh[:2], target[:2])
    metric.update(bokeh[2:], target[2:])
    assert metric.compute().item() == pytest.approx(np.mean(values), rel=1e-6)


def test_less_than_half_a_level_is_no_difference(lpips: Lpips) -> None:
    target = torch.full((1, 3, 32, 32), 100 / 255)
    assert lpips.per_image(target + 0.49 / 255, target).item() == 0
    assert lpips.per_image(target + 9 / 255, target).item() > 0


def test_training_mode_and_autocast_change_nothing(lpips: Lpips) -> None:
    bokeh, target = torch.rand(2, 1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    expected = lpips.per_image(bokeh, target)
    training = lpips.clone().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(training.per_image(bokeh, target), expected, rtol=1e-6, atol=0)


def test_checkpoints_and_optimizers_do_not_see_the_network(lpips: Lpips) -> None:
    assert list(lpips.parameters()) == []
    assert lpips.state_dict() == {}


def test_construction_leaves_random_numbers_alone_and_fetches_nothing(
    alexnet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    before = torch.random.get_rng_state()
    Lpips(weights=alexnet)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_weights_there_is_no_metric_but_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissingError) as caught:
        Lpips()
    message = str(caught.value)
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in message
    assert str(tmp_path / "weights") in message
    assert "`weights`" in message
    assert "`download: true`" in message
    assert "\n" not in message


def test_other_files_are_refused_by_name(tmp_path: Path, alexnet: str) -> None:
    state = torch.load(alexnet, weights_only=True)
    other, narrow, bare, damaged = (tmp_path / f"{name}.pth" for name in ("other", "narrow", "bare", "damaged"))
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, other)
    torch.save(state | {"features.3.bias": torch.zeros(7)}, narrow)
    torch.save(torch.zeros(3), bare)
    damaged.write_bytes(Path(alexnet).read_bytes()[:100_000])
    for path, problem in {
        other: "features.0.weight",
        narrow: r"\['features.3.bias'\] are missing or of another shape",
        bare: "is no mapping of names to tensors",
        damaged: "is damaged",
    }.items():
        with pytest.raises(DataError, match=rf"{path.name}.*{problem}"):
            Lpips(weights=str(path))


def test_a_pickle_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"features.0.weight": Payload()}, tmp_path / "hostile.pth")
    with pytest.raises(DataError, match=r"holds more than tensors: .*, whose code would have to be run"):
        Lpips(weights=str(tmp_path / "hostile.pth"))
    assert not (tmp_path / "ran").exists()


def test_smallest_photos(lpips: Lpips) -> None:
    photo = torch.rand(1, 3, 31, 31, generator=torch.Generator().manual_seed(0))
    assert lpips.per_image(photo, photo).item() == 0
    with pytest.raises(RequestError, match=r"at least 31×31 pixels.*\(30, 31\)"):
        lpips.per_image(photo[..., :30, :], photo[..., :30, :])


def test_smaller_is_better(lpips: Lpips) -> None:
    assert lpips.higher_is_better is False
    assert lpips.name == "lpips"
