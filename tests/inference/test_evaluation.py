import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lensblend.data.images import write_image
from lensblend.errors import DataError, RequestError
from lensblend.inference.evaluation import match_folders, score, score_folders, score_references, write_scores
from lensblend.metrics.fidelity import Psnr, Ssim
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import BokehNetwork


@pytest.fixture
def folders(tmp_path):
    """Two folders of three 8-bit pictures each, the second slightly different from the first."""
    random = np.random.default_rng(3)
    for name, noise in (("predictions", 12), ("targets", 0)):
        (tmp_path / name).mkdir()
        base = np.random.default_rng(7)
        for index in range(3):
            picture = base.integers(20, 230, (40, 52, 3)) + random.integers(-noise, noise + 1, (40, 52, 3))
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / name / f"{index}.png")
    return tmp_path / "predictions", tmp_path / "targets"


def test_folders_score_as_scikit_image_scores_them(folders, picture):
    metrics = {"psnr": Psnr(), "ssim": Ssim()}
    files = match_folders(*folders)
    scores = score_folders(metrics, files)
    assert list(scores) == ["0", "1", "2"]
    for name, ours, theirs in files:
        a, b = picture(ours), picture(theirs)
        assert scores[name]["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a), abs=1e-4)
        assert scores[name]["ssim"] == pytest.approx(structural_similarity(b, a, channel_axis=2), abs=1e-5)


def test_all_problems_of_two_folders_are_listed_at_once(folders):
    predictions, targets = folders
    (predictions / "0.png").unlink()
    (targets / "1.png").unlink()
    Image.new("RGB", (52, 41)).save(targets / "2.png")
    for folder in folders:
        (folder / "3.png").touch()
    (predictions / "4.png").symlink_to("4.png")
    Image.new("RGB", (52, 40)).save(targets / "4.png")
    with pytest.raises(DataError) as error:
        match_folders(predictions, targets)
    message = str(error.value)
    assert "6 of the images" in message
    assert f"`{predictions / '3.png'}` is empty" in message
    assert f"`{targets / '3.png'}` is empty" in message
    assert f"`{predictions / '4.png'}` cannot be read (Too many levels of symbolic links)" in message
    assert "targets/0: no prediction" in message
    assert "predictions/1: no target" in message
    assert "2: prediction is 40×52, target 41×52" in message


def test_scores_and_means_are_written(tmp_path):
    scores = {"a": {"psnr": 20.0, "ssim": 0.5}, "b": {"psnr": 30.0, "ssim": 0.7}}
    write_scores(tmp_path, {"psnr": Psnr, "ssim": Ssim}, scores, {"split": "val"})
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert list(csv.DictReader(file))[1] == {"id": "b", "psnr": "30", "ssim": "0.7"}
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["count"] == 2
    assert content["psnr"] == pytest.approx(25.0)
    assert content["ssim"] == pytest.approx(0.6)
    assert content["conventions"] == {"psnr": Psnr.convention, "ssim": Ssim.convention}
    assert content["split"] == "val"


class Blurring(BokehNetwork):
    """What `score_references` asks of a network: its blurs."""

    def __init__(self, bank):
        super().__init__()
        self.bank = bank

    @property
    def reference_bank(self):
        return self.bank


def test_references_score_the_photo_and_each_blur(folders):
    from lensblend.data.catalogue import Folders

    pairs = Folders(str(folders[0]), str(folders[1])).split("train")
    metrics = {"psnr": Psnr()}
    rows = score_references(metrics, Blurring(KernelBank(sizes=[3, 5])), pairs, range(3), (40, 52))
    assert list(rows) == ["photo", "gaussian 3", "gaussian 5"]
    unmodified = [score(metrics, pairs.load(i).photo, pairs.load(i).target)["psnr"] for i in range(3)]
    assert rows["photo"]["psnr"] == pytest.approx(np.mean(unmodified), abs=1e-9)
    assert rows["photo"]["psnr"] > rows["gaussian 3"]["psnr"] > 0


def test_each_photo_is_blurred_in_proportion_to_its_own_size(tmp_path):
    from lensblend.data.catalogue import Folders

    sizes = {"0": (40, 52), "1": (80, 104)}
    for name in ("photos", "targets"):
        (tmp_path / name).mkdir()
        for stem, size in sizes.items():
            picture = np.random.default_rng(len(name)).integers(0, 255, (*size, 3)).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{stem}.png")
    pairs = Folders(str(tmp_path / "photos"), str(tmp_path / "targets"), val_fraction=0.0).split("train")
    rows = score_references({"psnr": Psnr()}, Blurring(KernelBank(sizes=[5])), pairs, range(2), (40, 52))
    each = []
    for index, kernel in enumerate([KernelBank(sizes=[5]), KernelBank(sizes=[5], scale=2.0)]):
        pair = pairs.load(index)
        blurred = kernel(torch.from_numpy(pair.photo).permute(2, 0, 1)[None] / 255)[0, 1]
        blurred = (blurred * 255).round().byte().permute(1, 2, 0).numpy()
        each.append(peak_signal_noise_ratio(pair.target, blurred))
    assert rows["gaussian 5"]["psnr"] == pytest.approx(np.mean(each), abs=0.01)


def test_a_photo_that_a_metric_refuses_is_named(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(RequestError, match=r"`.*a\.png`: Photos compared by SSIM .* use larger photos"):
        score_folders({"ssim": Ssim()}, [("a", tmp_path / "a.png", tmp_path / "b.png")])
