"""Saliency and depth from end to end: prior networks trained, used by the baseline and the joint model, shown."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow  # four trainings
SMOKE = ["debug=smoke", "data.image_size=[64,96]", "data.train=4", "data.val=2", "logger=csv"]
NARROW_TRUNK = ["+backbone.width_divisor=16"]


def rows(run_dir):
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("priors")


@pytest.fixture(scope="module")
def scrn(lensblend, runs):
    """SCRN at an eighth of its width, trained at three sizes until the statistics of its BatchNorm hold."""
    longer = ["schedule.every_phase.max_epochs=10", "+model.width_divisor=8"]
    # Larger than a smoke training's: BatchNorm of a single place in two photos knows no variance.
    longer.append("schedule.every_phase.image_size=[64,96]")
    done = lensblend("train", "experiment=saliency_scrn", *SMOKE, *longer, f"run_dir={runs / 'scrn'}")
    assert done.code == 0, done.err
    return runs / "scrn"


@pytest.fixture(scope="module")
def depth(lensblend, runs):
    done = lensblend("train", "experiment=depth", *SMOKE, *NARROW_TRUNK, f"run_dir={runs / 'depth'}")
    assert done.code == 0, done.err
    return runs / "depth"


@pytest.fixture(scope="module")
def baseline(lensblend, scrn, runs):
    done = lensblend(
        "train", "baseline=scrn", "experiment=demo", *SMOKE, "metrics.lpips=null", "kernels.scale=0.25",
        f"saliency.weights={scrn}", f"run_dir={runs / 'baseline'}",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "no weights to train, scored as it is" in done.out
    return runs / "baseline"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photos" / "street.jpg"
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((150, 100)).save(path)
    return path


def test_a_saliency_training_logs_its_terms_scores_and_pictures(scrn):
    logged = rows(scrn)
    assert [row["step"] for row in logged] == [str(step) for step in range(20)]
    for row in logged:
        logged_beside = ("train/loss", "train/grad_norm")
        terms = [v for key, v in row.items() if key.startswith("train/") and key not in logged_beside and v]
        assert len(terms) == 2  # saliency and edges
        # The loss adds up three sizes, and each term is the mean over them.
        assert float(row["train/loss"]) == pytest.approx(3 * sum(map(float, terms)), rel=1e-5)
    assert 0 <= float(logged[-1]["val/mae"]) <= 1
    assert list((scrn / "panels").glob("phase1-*.png"))


def test_a_depth_training_logs_its_terms_and_scores(depth):
    (*_, last) = rows(depth)
    assert float(last["val/si_rmse"]) > 0
    assert 0 <= float(last["val/ordinal"]) <= 1


def test_the_baseline_is_scored_without_training(baseline):
    status = json.loads((baseline / "status.json").read_text())
    assert status["state"] == "done"
    assert status["phases"]["phase3"]["best"]["val/ssim"] > 0
    content = torch.load(baseline / "phase3" / "best.ckpt", weights_only=True)
    assert content["state_dict"] == {}


def test_the_baselines_missing_weights_stop_it_at_the_start_in_one_sentence(in_process, tmp_path):
    done = in_process("train", "baseline=scrn", "experiment=demo", *SMOKE, f"run_dir={tmp_path / 'run'}")
    assert done.code != 0
    assert "Saliency is to come from Scrn, whose weights are not set: give `saliency.weights`" in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("run/*/*.ckpt"))


def test_the_true_masks_may_take_the_priors_place(in_process, tmp_path):
    request = ["baseline=scrn", "saliency=truth", "experiment=demo", *SMOKE, "metrics.lpips=null"]
    done = in_process("train", *request, f"run_dir={tmp_path / 'run'}")
    assert done.code == 0, done.err


def test_the_baseline_is_evaluated_rendered_and_compared(in_process, baseline, photo, picture, tmp_path):
    request = [f"checkpoint={baseline}", "metrics.lpips=null", "limit=1", f"output={tmp_path / 'scores'}"]
    done = in_process("evaluate", *request)
    assert done.code == 0, done.err
    done = in_process("render", photo, "--model", baseline, "--output", tmp_path / "own", "--weights")
    assert done.code == 0, done.err
    assert (tmp_path / "own" / "street-W0-photo.png").is_file()
    done = in_process("compare", baseline, "--table", "1", "--limit", "1", "--output", tmp_path / "compared")
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("| Baseline (SCRN)")]
    assert line.count("22.53") == 1
    assert "| –" not in line.rsplit("|", 3)[1]


def test_maps_from_files_guide_a_rendering(in_process, baseline, photo, picture, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    for value, name in ((255, "sharp"), (0, "blurred")):
        Image.new("L", (150, 100), value).save(maps / "street.png")
        output = tmp_path / name
        done = in_process(
            "render", photo, "--model", baseline, "--output", output, "--saliency", maps, "--blend-at", "photo"
        )
        assert done.code == 0, done.err
    original, sharp, blurred = (
        picture(p).astype(float)
        for p in (photo, tmp_path / "sharp" / "street.jpg", tmp_path / "blurred" / "street.jpg")
    )
    assert np.abs(sharp - original).mean() < 2  # compressed once more
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.5 * np.abs(np.diff(original, axis=1)).mean()


def test_a_network_starts_from_a_trained_depth_backbone(in_process, depth, tmp_path):
    request = [
        "experiment=demo",
        *SMOKE,
        *NARROW_TRUNK,
        "metrics.lpips=null",
        "schedule.run=[phase1]",
        "seed=1",  # random weights of the depth training's own seed would look like its result
        f"init_from={depth}",
    ]
    done = in_process("train", *request, f"run_dir={tmp_path / 'run'}")
    assert done.code == 0, done.err
    assert "starts from the depth weights of" in done.out
    start = torch.load(depth / "phase1" / "best.ckpt", weights_only=True)["state_dict"]
    parent = json.loads((tmp_path / "run" / "status.json").read_text())["phases"]["phase1"]["parent"]
    assert parent["path"] == str(depth / "phase1" / "best.ckpt")
    trained = torch.load(tmp_path / "run" / "phase1" / "last.ckpt", weights_only=True)["state_dict"]
    key = "backbone.stem.0.weight"
    # Two steps of Adam at 1e-3 move no weight by more than a few thousandths.
    assert (trained[key] - start[key]).abs().max() < 0.01
    assert trained["head.weight"].shape[0] == 4


def test_depth_is_pictured_at_the_photos_size(in_process, depth, photo, picture, tmp_path):
    done = in_process("render", photo, "--model", depth, "--output", tmp_path / "out", "--depth")
    assert done.code == 0, done.err
    pixels = picture(tmp_path / "out" / "street-depth.png")
    assert pixels.shape == (100, 150)
    assert pixels.max() >= 250  # inverse depth over its maximum


def test_saliency_is_pictured_by_its_own_network(in_process, scrn, photo, picture, tmp_path):
    done = in_process("render", photo, "--model", scrn, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert picture(tmp_path / "out" / "street-saliency.png").shape == (100, 150)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["street-saliency.png"]


def test_depth_is_refused_where_there_is_none(in_process, scrn, photo, tmp_path):
    done = in_process("render", photo, "--model", scrn, "--output", tmp_path / "out", "--depth")
    assert done.code == 2
    assert "holds Scrn, which predicts no depth; leave it out" in done.err


def test_a_prior_network_is_not_evaluated_or_compared_as_if_it_rendered(in_process, scrn, tmp_path):
    done = in_process("evaluate", f"checkpoint={scrn}", f"output={tmp_path}")
    assert done.code == 2
    assert "estimates saliency, not bokeh: its scores are in its run's metrics.csv" in done.err
    done = in_process("compare", scrn, "--output", tmp_path)
    assert done.code == 1
    assert "it estimates saliency or depth and renders nothing" in done.out


def test_the_joint_model_learns_from_pseudo_labels_and_shows_its_depth(
    cache, in_process, scrn, depth, photo, picture, tmp_path
):
    request = [
        "experiment=joint", *SMOKE, *NARROW_TRUNK, "metrics.lpips=null", "schedule.run=[phase1]", "kernels.scale=0.25",
        "saliency=scrn", f"saliency.weights={scrn}", "disparity=hourglass", f"disparity.weights={depth}",
    ]  # fmt: skip
    run = tmp_path / "run"
    done = in_process("train", *request, f"run_dir={run}")
    assert done.code == 0, done.err
    # Each prior went over both splits before the training.
    assert len(list((cache / "guidance").glob("*/train-4-*.done"))) == 2
    done = in_process("render", photo, "--model", run, "--output", tmp_path / "out", "--depth")
    assert done.code == 0, done.err
    assert picture(tmp_path / "out" / "street-depth.png").shape == (100, 150)


@pytest.mark.parametrize("name", ["basnet", "dss"])
def test_the_other_saliency_networks_train_on_photos_and_masks(in_process, name, tmp_path):
    for folder, mode in (("photos", "RGB"), ("masks", "L")):
        (tmp_path / folder).mkdir()
        for index in range(8):
            Image.effect_noise((96, 64), 90).convert(mode).save(tmp_path / folder / f"{index}.png")
    data = ["data=masks", f"data.photos={tmp_path / 'photos'}", f"data.masks={tmp_path / 'masks'}"]
    narrow = ["debug=smoke", "+model.width_divisor=8", "data.val_fraction=0.5", "logger=csv"]
    done = in_process("train", f"experiment=saliency_{name}", *data, *narrow, f"run_dir={tmp_path / 'run'}")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "phase1" / "best.ckpt").is_file()
