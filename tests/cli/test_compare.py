import csv
import itertools
import json
import re
import shutil

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from scipy.stats import ttest_ind
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional

from lensblend.comparison.report import compare as compare_entries
from lensblend.comparison.report import write_report
from lensblend.comparison.runs import find_entries
from lensblend.comparison.scored import Request
from lensblend.data.embedded import Embedded
from lensblend.inference.rendering import render_photo
from lensblend.metrics.per_image import PerImageMetric
from lensblend.runs.checkpoints import load_network

TINY = ("debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "logger=none", "callbacks.panels=null")

# Each compares real trainings.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(lensblend, tmp_path_factory):
    """A finished sweep over two kernel sets, one short phase each."""
    sweep = tmp_path_factory.mktemp("sweep") / "sweep"
    kernels = "kernels=gaussian_25_45_75,gaussian_75"
    one_phase = ("schedule.run=[phase1]", f"hydra.sweep.dir={sweep}")
    done = lensblend("train", "--multirun", "experiment=demo", *TINY, *one_phase, kernels)
    assert done.code == 0, done.err
    return sweep


@pytest.fixture
def sweep(finished, tmp_path):
    """A copy of the sweep that a test may change."""
    return shutil.copytree(finished, tmp_path / "sweep")


def edit(run_dir, name, change):
    path = run_dir / name
    load, dump = (json.loads, json.dumps) if path.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
    content = load(path.read_text())
    change(content)
    path.write_text(dump(content))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def compare(in_process, tmp_path):
    """Compare three images, pictures of two."""

    def run(*arguments, limit=3):
        output = ("--output", tmp_path / "out", "--limit", limit, "--gallery-limit", 2, "--device", "cpu")
        return in_process("compare", *output, *arguments)

    return run


def test_a_sweep_is_scored_as_scikit_image_scores_its_pictures(compare, sweep, picture, tmp_path):
    done = compare(sweep)
    assert done.code == 0, done.err
    scores = {(r["run"], r["id"]): r for r in rows(tmp_path / "out" / "scores.csv")}
    assert {run for run, _ in scores} == {"gaussian_25_45_75", "gaussian_75"}
    config = yaml.safe_load((sweep / "0" / "config.yaml").read_text())["data"]
    pairs = Embedded(**{k: v for k, v in config.items() if k != "_target_"}).split("val")
    for folder, run in (("0", "gaussian_25_45_75"), ("1", "gaussian_75")):
        for index in range(2):
            bokeh = picture(sweep / folder / "compare" / "phase1" / f"{index:04d}.png")
            target, row = pairs.load(index).target, scores[run, pairs.ids[index]]
            assert float(row["psnr"]) == pytest.approx(peak_signal_noise_ratio(target, bokeh), abs=1e-6)
            expected = structural_similarity(target, bokeh, channel_axis=2)
            assert float(row["ssim"]) == pytest.approx(expected, abs=1e-6)


def test_tables_say_the_means_of_the_scores_and_their_paired_differences(compare, sweep, tmp_path):
    done = compare(sweep)
    assert done.code == 0, done.err
    scores = rows(tmp_path / "out" / "scores.csv")
    table = {(r["run"], r["metric"]): r for r in rows(tmp_path / "out" / "compare.csv")}
    values = {
        run: np.array([float(r["psnr"]) for r in scores if r["run"] == run])
        for run in ("gaussian_25_45_75", "gaussian_75")
    }
    for run, own in values.items():
        assert float(table[run, "psnr"]["mean"]) == pytest.approx(own.mean())
        assert float(table[run, "psnr"]["low"]) <= own.mean() <= float(table[run, "psnr"]["high"])
    difference = values["gaussian_75"] - values["gaussian_25_45_75"]
    assert float(table["gaussian_75", "psnr"]["difference"]) == pytest.approx(difference.mean())
    text = (tmp_path / "out" / "compare.md").read_text()
    assert f"{values['gaussian_75'].mean():.2f} [" in text
    assert text.split("\n\n", 1)[1].strip() in done.out
    assert "`lpips` is left out" in done.out


@pytest.fixture
def seeds(sweep):
    """The sweep with three seeds of each kernel set: the networks differ a little, and the configurations in seed."""
    for run in "01":
        for seed in (1, 2):
            copy = shutil.copytree(sweep / run, sweep / f"{run}-{seed}")
            config = (copy / "config.yaml").read_text()
            (copy / "config.yaml").write_text(re.sub(r"^seed: 0$", f"seed: {seed}", config, flags=re.MULTILINE))
            content = torch.load(copy / "phase1" / "best.ckpt", weights_only=False)
            for value in content["state_dict"].values():
                if value.is_floating_point():
                    value.mul_(1 + 0.02 * seed)
            torch.save(content, copy / "phase1" / "best.ckpt")
            (copy / "phase1" / "best.ckpt.sha256").unlink()  # it is the file's before
    (sweep / "0" / "metrics.csv").write_text("phase,epoch,step,val/psnr\nphase1,0,9,20\nphase1,1,19,22\n")
    return sweep


def test_seeds_are_one_row_and_keep_their_names_on_the_page(compare, seeds, tmp_path):
    done = compare(seeds, limit=6)
    assert done.code == 0, done.err
    kernels = "gaussian_25_45_75", "gaussian_75"
    scores, table = (rows(tmp_path / "out" / name) for name in ("scores.csv", "compare.csv"))
    values = {
        (k, s): np.array([float(r["psnr"]) for r in scores if r["run"] == f"{k} · seed={s}"])
        for k in kernels
        for s in range(3)
    }
    found = {r["run"]: r for r in table if r["metric"] == "psnr"}
    assert list(found) == list(kernels)
    for name, row in found.items():
        own = [values[name, seed].mean() for seed in range(3)]
        assert (row["seeds"], len(row["folder"].split("; "))) == ("3", 3)
        assert float(row["mean"]) == pytest.approx(np.mean(own))
        assert float(row["sd"]) == pytest.approx(np.std(own, ddof=1)) != 0
    first, second = ([values[name, seed].mean() for seed in range(3)] for name in kernels)
    assert float(found["gaussian_75"]["difference"]) == pytest.approx(np.mean(second) - np.mean(first))
    over_seeds = ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    decided = found["gaussian_75"]["verdict"] in ("better", "worse")
    signs = {np.sign(float(found["gaussian_75"][key])) for key in ("difference_low", "difference_high")}
    assert decided == (len(signs | {np.sign(over_seeds.low), np.sign(over_seeds.high)}) == 1)
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "In what the rows differ:" in text
    assert "| kernels.sizes |" in text
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert "<h1>6 runs compared</h1>" in page
    assert all(f">{name} · seed={seed}</option>" in page for name in kernels for seed in range(3))
    assert "<h2>Learning curves</h2>" in page
    assert "PSNR over epochs: gaussian_25_45_75 · seed=0 from 20 to 22." in page
    # A row is named as a reference too; with --each-seed each run is a row.
    assert compare(seeds, "--against", "gaussian_75", limit=6).code == 0
    assert {r["against"] for r in rows(tmp_path / "out" / "compare.csv")} == {"", "gaussian_75"}
    assert compare(seeds, "--each-seed", limit=6).code == 0
    apart = [r for r in rows(tmp_path / "out" / "compare.csv") if r["metric"] == "psnr"]
    assert [(r["run"], r["seeds"], r["sd"]) for r in apart] == [
        (f"{name} · seed={seed}", "1", "") for name in kernels for seed in range(3)
    ]


def test_what_is_in_focus_is_scored_by_masks_and_flips_are_told_apart(compare, sweep, picture, tmp_path):
    chosen = "--metrics", "psnr,psnr_in,psnr_out"
    done = compare(sweep, *chosen, "--focus", "truth")
    assert done.code == 0, done.err
    assert "in focus: the data's masks" in done.out
    config = yaml.safe_load((sweep / "0" / "config.yaml").read_text())["data"]
    pairs = Embedded(**{k: v for k, v in config.items() if k != "_target_"}).split("val")
    found = {(r["run"], r["id"]): r for r in rows(tmp_path / "out" / "scores.csv")}
    for index in range(2):
        pair, bokeh = pairs.load(index), picture(sweep / "1" / "compare" / "phase1" / f"{index:04d}.png")
        for name, where in (("psnr_in", pair.maps["mask"]), ("psnr_out", ~pair.maps["mask"])):
            expected = peak_signal_noise_ratio(pair.target[where], bokeh[where])
            assert float(found["gaussian_75", pair.id][name]) == pytest.approx(expected, abs=1e-6)
    # Scores of the whole photo serve whatever is in focus; those of a part do not.
    assert compare(sweep, "--metrics", "psnr").out.count("scores of an earlier comparison") == 2
    done = compare(sweep, *chosen, "--tta", "flips")
    assert done.out.count("scored (new: kept scores have another focus, tta)") == 2
    assert "rendered as the mean over flips · in focus: where photo and target are equally sharp" in done.out
    assert compare(sweep, *chosen, "--tta", "flips").out.count("scores of an earlier comparison") == 2
    assert compare(sweep, "--metrics", "psnr").out.count("kept scores have another tta") == 2
    refused = compare(sweep, "--focus", "truth")
    assert refused.code == 2
    assert "`--focus truth` would have no effect" in refused.err


def test_scores_are_kept_and_used_only_for_the_same(compare, sweep, tmp_path):
    assert compare(sweep).out.count("scored (new)") == 2
    before = (tmp_path / "out" / "compare.csv").read_text()
    again = compare(sweep)
    assert again.out.count("scores of an earlier comparison") == 2
    assert (tmp_path / "out" / "compare.csv").read_text() == before
    assert compare(sweep, limit=2).out.count("scores of an earlier comparison") == 2
    assert compare(sweep, limit=4).out.count("scored (new: kept scores are of other images)") == 2
    assert compare(sweep, "--again").out.count("scored (new, as asked for)") == 2
    assert compare(sweep, "--blend-at", "photo").out.count("another blend_at") == 2
    assert compare(sweep, "--blend-at", "photo", "--score-at", "network").out.count("another score_at") == 2


def test_a_photo_that_was_replaced_is_scored_anew(compare, sweep, tmp_path):
    root = tmp_path / "ebb" / "train"
    generator = np.random.default_rng(0)
    for kind in ("original", "bokeh"):
        (root / kind).mkdir(parents=True)
        for name in (4400, 4401):
            Image.fromarray(generator.integers(0, 256, (48, 64, 3), np.uint8)).save(root / kind / f"{name}.png")
    node = {"_target_": "lensblend.data.catalogue.Ebb", "root": str(root.parent)}
    for run in "01":
        edit(sweep / run, "config.yaml", lambda c: c.update(data=node))
    compare(sweep)
    before = rows(tmp_path / "out" / "scores.csv")
    assert compare(sweep).out.count("scores of an earlier comparison") == 2
    Image.fromarray(generator.integers(0, 256, (48, 64, 3), np.uint8)).save(root / "original" / "4401.png")
    assert compare(sweep).out.count("scored (new: images have changed since they were scored)") == 2
    after = rows(tmp_path / "out" / "scores.csv")
    changed = {old["id"] for old, new in zip(before, after, strict=True) if old != new}
    assert changed == {"4401"}


def test_a_changed_checkpoint_is_scored_anew(compare, sweep, tmp_path):
    compare(sweep)
    before = {r["run"]: r["mean"] for r in rows(tmp_path / "out" / "compare.csv") if r["metric"] == "psnr"}
    best = sweep / "1" / "phase1" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["state_dict"]["head.bias"][0] += 5
    torch.save(content, best)
    for checksum in best.parent.glob("best.ckpt.*"):
        checksum.unlink()
    done = compare(sweep)
    assert "gaussian_75: scored (new: kept scores have another checkpoint_sha256)" in done.out
    assert "gaussian_25_45_75: scores of an earlier comparison" in done.out
    after = {r["run"]: r["mean"] for r in rows(tmp_path / "out" / "compare.csv") if r["metric"] == "psnr"}
    assert after["gaussian_25_45_75"] == before["gaussian_25_45_75"]
    assert after["gaussian_75"] != before["gaussian_75"]


@pytest.mark.parametrize("name", ["scores.csv", "about.json", "0001.png"])
def test_what_was_kept_and_is_damaged_is_scored_anew(compare, sweep, tmp_path, name):
    compare(sweep)
    before = (tmp_path / "out" / "compare.csv").read_text()
    file = sweep / "0" / "compare" / "phase1" / name
    file.unlink() if file.suffix == ".png" else file.write_bytes(file.read_bytes()[:20])
    done = compare(sweep)
    assert done.code == 0, done.err
    assert done.out.count("scored (new") == 1
    assert (tmp_path / "out" / "compare.csv").read_text() == before


def test_runs_that_did_not_finish_are_named_and_left_out(compare, sweep, tmp_path):
    for state, run in (("interrupted", "2"), ("failed", "3"), ("running", "4")):
        shutil.copytree(sweep / "0", sweep / run)
        edit(
            sweep / run,
            "status.json",
            lambda c, s=state: c.update(state=s, error="loss is NaN" if s == "failed" else ""),
        )
    (sweep / "5" / ".hydra").mkdir(parents=True)
    shutil.copytree(sweep / "0", sweep / "6")
    (sweep / "6" / "status.json").write_text("{")
    shutil.copytree(sweep / "0", sweep / "7")
    (sweep / "7" / "phase1" / "best.ckpt").unlink()
    done = compare(sweep)
    assert done.code == 0, done.err
    text = (tmp_path / "out" / "compare.md").read_text()
    for run, said in {
        "2": "it is interrupted", "3": "it is failed (loss is NaN)", "4": "it is running", "5": "it has not started",
        "6": "its status.json is damaged", "7": "best.ckpt is missing",
    }.items():  # fmt: skip
        assert f"Left out: {sweep / run}: " in done.out
        assert said in next(x for x in done.out.splitlines() if x.startswith(f"Left out: {sweep / run}:"))
        assert f"Left out: {sweep / run}: " in text
    assert {r["run"] for r in rows(tmp_path / "out" / "compare.csv")} == {"gaussian_25_45_75", "gaussian_75"}


def test_a_damaged_checkpoint_does_not_stop_the_others(compare, sweep, tmp_path):
    best = sweep / "1" / "phase1" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:5000])
    done = compare(sweep)
    assert done.code == 0, done.err
    assert f"Left out: {sweep / '1'}: " in done.out
    assert {r["run"] for r in rows(tmp_path / "out" / "compare.csv")} == {"gaussian_25_45_75"}


def test_nothing_to_compare_is_a_failure(compare, sweep):
    for run in ("0", "1"):
        edit(sweep / run, "status.json", lambda c: c.update(state="failed"))
    done = compare(sweep)
    assert done.code == 1
    assert "None of the 2 runs can be compared" in done.err
    # The phase itself was finished, and can be asked for.
    assert compare(sweep, "--phase", "phase1").code == 0
    assert "its phase phase9 is not trained; finished are: phase1" in compare(sweep, "--phase", "phase9").out


@pytest.mark.parametrize(
    ("where", "said"),
    [("nowhere", "is not a folder"), (".", "holds no run"), ("sweep/0/phase1", "did you mean")],
)
def test_a_folder_without_runs_is_refused(compare, sweep, tmp_path, where, said):
    folder = tmp_path / where
    if where == ".":
        shutil.rmtree(sweep)
    done = compare(folder)
    assert done.code == 2
    assert said in done.err


def test_runs_on_other_images_are_refused_by_name(compare, sweep):
    edit(sweep / "1", "config.yaml", lambda c: c["data"].update(seed=7))
    done = compare(sweep)
    assert done.code == 2
    assert "data.seed=7 instead of 0 of gaussian_25_45_75" in done.err


def test_what_was_trained_on_may_differ(compare, sweep):
    edit(sweep / "1", "config.yaml", lambda c: c["data"].update(train=20))
    assert compare(sweep).code == 0


def test_other_ids_are_refused_by_name(compare, sweep, tmp_path):
    from PIL import Image

    for run, names in (("0", "abc"), ("1", "abd")):
        root = tmp_path / "data" / run / "Training"
        for kind in ("original", "bokeh"):
            (root / kind).mkdir(parents=True)
            for name in names:
                Image.new("RGB", (64, 48), (90, 60, ord(name))).save(root / kind / f"{4400 + ord(name)}.jpg")
        node = {"_target_": "lensblend.data.catalogue.Ebb", "root": str(root.parent)}
        edit(sweep / run, "config.yaml", lambda c, node=node: c.update(data=node))
    done = compare(sweep)
    assert done.code == 2
    assert "only runs on the same images can be compared" in done.err
    assert "4499" in done.err or "4500" in done.err


def test_what_nothing_was_chosen_by_can_be_compared(compare, sweep, tmp_path):
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 2)):
        for kind in ("photos", "targets"):
            (tmp_path / split / kind).mkdir(parents=True)
            for name in range(count):
                pixels = draw.integers(0, 256, (48, 64, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / kind / f"{split}-{name}.png")
    kinds = {kind: str(tmp_path / "train" / kind) for kind in ("photos", "targets")}
    folders = {"_target_": "lensblend.data.catalogue.Folders", **kinds}
    test = {f"test_{kind}": str(tmp_path / "test" / kind) for kind in kinds}
    for run, fraction in (("0", 0.3), ("1", 0.6)):
        edit(sweep / run, "config.yaml", lambda c, f=fraction: c.update(data={**folders, **test, "val_fraction": f}))
    done = compare(sweep, "--split", "test")
    assert done.code == 0, done.err
    assert "2 runs · 2 test images of Folders" in done.out
    scored = rows(tmp_path / "out" / "scores.csv")
    assert {r["id"] for r in scored} == {"test-0", "test-1"}
    assert compare(sweep).code == 2  # other shares validate
    edit(sweep / "0", "config.yaml", lambda c: c.update(data={**folders, "val_fraction": 0.6}))
    done = compare(sweep)
    assert done.code == 0, done.err
    assert "validation images of Folders" in done.out
    none = compare(sweep / "0", "--split", "test")
    assert none.code != 0
    assert "has no test pairs; compare runs that have some, or leave `--split test` out" in none.err


def test_pixels_that_changed_between_two_scorings_are_noticed(compare, sweep, tmp_path):
    compare(sweep)
    kept = sweep / "1" / "compare" / "phase1" / "scores.csv"
    header, first, *others = kept.read_text().splitlines()
    name, _, *values = first.split(",")
    kept.write_text("\n".join([header, ",".join([name, "0" * 16, *values]), *others]) + "\n")
    done = compare(sweep)
    assert done.code == 1
    assert f"The pixels of {name}" in done.err
    assert "--again" in done.err
    assert compare(sweep, "--again").code == 0


def test_the_reference_is_a_name_or_a_folder(compare, sweep, tmp_path):
    for against in ("gaussian_75", sweep / "1"):
        assert compare(sweep, "--against", against).code == 0
        table = rows(tmp_path / "out" / "compare.csv")
        assert {r["against"] for r in table if r["run"] == "gaussian_25_45_75"} == {"gaussian_75"}
        assert {r["against"] for r in table if r["run"] == "gaussian_75"} == {""}
    done = compare(sweep, "--against", "gaussian")
    assert done.code == 2
    assert "there are: gaussian_25_45_75, gaussian_75" in done.err


def test_every_phase_is_a_row_of_table_four(in_process, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    done = in_process("compare", run, "--output", tmp_path / "out", "--table", 4, "--table", 2, "--limit", 2)
    assert done.code == 0, done.err
    assert {r["run"] for r in rows(tmp_path / "out" / "compare.csv")} == {"phase1", "phase2", "phase3"}
    text = (tmp_path / "out" / "compare.md").read_text()
    table = [r for r in text[text.index("### Table 4") :].splitlines() if r.startswith("| Phase-")]
    assert [r.split("|")[1].strip() for r in table] == ["Phase-1", "Phase-2", "Phase-3"]
    assert [r.split("|")[-2].strip() for r in table] == ["phase1", "phase2", "phase3"]
    assert "kernels=gaussian_75` trains one" in text[text.index("### Table 2") :]
    assert "Ours have no lpips" in text


def test_the_challenges_table_has_a_run_of_dbsi_as_its_two_entries(in_process, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    arguments = ("--output", tmp_path / "out", "--limit", 1, "--table", "aim2019", "--gallery-limit", 0)
    done = in_process("compare", run, *arguments, "--device", "cpu")
    assert done.code == 0, done.err
    # Phase 2 is neither track's result, and is not scored.
    assert {r["run"] for r in rows(tmp_path / "out" / "compare.csv")} == {"phase1", "phase3"}
    text = (tmp_path / "out" / "compare.md").read_text()
    ours = [[cell.strip() for cell in r.split("|")] for r in text.split("our runs\n")[1].split("###")[0].splitlines()]
    assert [(r[1], r[2], r[-2]) for r in ours if "CVL-IITM" in r] == [
        ("CVL-IITM", "fidelity", "phase1"), ("CVL-IITM", "perceptual", "phase3")
    ]  # fmt: skip
    assert done.out.count("no finished run among these; `lensblend train baseline=") == 8
    table = [r for r in rows(tmp_path / "out" / "aim2019.csv") if r["source"] == "ours"]
    for row in table:
        about = json.loads((run / "compare" / row["phase"] / "about.json").read_text())
        assert about["seconds"] == float(row["seconds"]) > 0
        assert [about["macs"], *about["image_size"]] == [int(row[key]) for key in ("macs", "height", "width")]
    # A later comparison without the table leaves none, and uses the same scores and seconds.
    done = in_process("compare", run, *arguments[:4], *arguments[6:], "--device", "cpu")
    assert "scores of an earlier comparison" in done.out
    assert not (tmp_path / "out" / "aim2019.csv").exists()


def test_the_page_shows_every_run_and_says_what_it_leaves_out(compare, sweep, tmp_path):
    done = compare(sweep)
    page = (tmp_path / "out" / "gallery.html").read_text()
    # Two images: photo, target, two renderings, four and two weight maps each.
    assert page.count("data:image/png;base64,") == 2 * (2 + 2 + 4 + 2)
    assert "Pictures of the first 2 of 3 images" in page
    assert "Pictures of the first 2 of 3 images" in done.out
    assert "gallery.html" not in compare(sweep, "--gallery-limit", 0).out.splitlines()[-1]
    assert not (tmp_path / "out" / "gallery.html").exists()


def test_what_people_think_stands_beside_the_metrics(compare, sweep, tmp_path):
    head = "method,mos,low,high,rank,raters,images,answers\n"
    (tmp_path / "mos.csv").write_text(head + "gaussian_75,1.25,1,1.5,1,9,10,90\n<b>other,2,,,2,9,10,90\n")
    done = compare(sweep, "--ratings", tmp_path / "mos.csv")
    assert done.code == 0, done.err
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "| 1.25 [1.00, 1.50] |" in text
    assert "- mos.csv has no MOS of gaussian_25_45_75.\n- &lt;b&gt;other, of mos.csv, is none of these runs." in text
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert '<td class="best">1.25 [1.00, 1.50]</td>' in page
    assert "<h2>Opinions and metrics</h2>" in page
    assert "&lt;b&gt;other, of mos.csv" in page
    assert [r["run"] for r in rows(tmp_path / "out" / "compare.csv") if r["metric"] == "mos"] == ["gaussian_75"]
    (tmp_path / "mos.csv").write_text(head + "other,2,,,2,9,10,90\n")
    assert "none of these is a run" in compare(sweep, "--ratings", tmp_path / "mos.csv").err


def test_an_analysis_measures_the_weights_that_the_network_blends_with(compare, sweep, picture, tmp_path):
    done = compare(sweep, "--analysis", "--phase", "phase1")
    assert done.code == 0, done.err
    table = {(r["run"], r["measure"]): r for r in rows(tmp_path / "out" / "analysis.csv")}
    trained = load_network(sweep / "0" / "phase1" / "best.ckpt")
    config = yaml.safe_load((sweep / "0" / "config.yaml").read_text())["data"]
    pairs = Embedded(**{k: v for k, v in config.items() if k != "_target_"}).split("val")
    inside, nearest = [], []
    for index in range(3):
        pair = pairs.load(index)
        weights = render_photo(trained.network, pair.photo, trained.image_size).aux["weights"]
        sharp = functional.interpolate(weights, pair.maps["mask"].shape, mode="bilinear")[0, 0].numpy()
        inside.append(sharp[pair.maps["mask"]].mean())
        # Ties at the quantile's edge go to one side here, to both there: close, not equal.
        nearest.append(sharp[pair.maps["disparity"] >= np.quantile(pair.maps["disparity"], 0.8)].mean())
    ours = table["gaussian_25_45_75", "w0_focus"]
    assert (float(ours["mean"]), ours["count"], ours["phase"]) == (pytest.approx(np.mean(inside), 1e-5), "3", "phase1")
    assert float(table["gaussian_25_45_75", "w0_fifth1"]["mean"]) == pytest.approx(np.mean(nearest), abs=0.03)
    for fifth in range(1, 6):
        total = sum(float(table["gaussian_25_45_75", f"w{i}_fifth{fifth}"]["mean"]) for i in range(4))
        assert total == pytest.approx(1, abs=1e-5)
    assert ("gaussian_75", "w2_fifth1") not in table
    for name in ("weights-by-depth", "focus", "sharpness", *(f"maps-{pairs.ids[index]}" for index in range(3))):
        assert min(picture(tmp_path / "out" / "analysis" / f"{name}.png").shape[:2]) > 150
    text = (tmp_path / "out" / "compare.md").read_text()
    more = next(line for line in text.splitlines() if "smoother background (5.5, Table 2)" in line)
    assert "background's sharpness: gaussian_25_45_75 − gaussian_75" in more
    assert "cannot be said: no two runs here differ in their Gaussian kernels only, [25, 45, 75] and [5, 25" in done.out
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert "<h2>Analysis</h2>" in page
    assert page.count("data:image/png;base64,") == 2 * (2 + 2 + 4 + 2) + 3 + 3


def test_maps_that_an_analysis_reads_are_looked_at_before_anything_is_scored(compare, sweep, tmp_path):
    for name in ("photos", "targets", "disparities"):
        (tmp_path / name).mkdir()
        for index in range(8):
            size = (48, 36) if name == "disparities" else (36, 48)
            pixels = np.random.default_rng(index).integers(0, 255, (*size, 3)).astype(np.uint8)
            Image.fromarray(pixels[..., 0] if name == "disparities" else pixels).save(tmp_path / name / f"{index}.png")
    data = {name: str(tmp_path / name) for name in ("photos", "targets", "disparities")}
    node = {"_target_": "lensblend.data.catalogue.Folders", **data, "val_fraction": 0.4}
    for job in "01":
        edit(sweep / job, "config.yaml", lambda content: content.update(data=node))
    refused = compare(sweep, "--analysis", limit=4)
    assert refused.code == 1
    assert "problem(s)" in refused.err
    assert ".png` is 48×36" in refused.err
    assert not list(sweep.glob("*/compare/*/scores.csv"))
    assert compare(sweep, limit=4).code == 0


def test_an_analysis_is_kept_and_made_only_when_asked_for(compare, sweep, tmp_path):
    out = tmp_path / "out"
    compare(sweep)
    assert not (out / "analysis.csv").exists()
    assert compare(sweep, "--analysis").out.count("scored (new: kept scores have another analysis)") == 2
    before = (out / "analysis.csv").read_text()
    assert compare(sweep, "--analysis").out.count("scores of an earlier comparison") == 2
    assert (out / "analysis.csv").read_text() == before
    kept = sweep / "0" / "compare" / "phase1" / "measures.csv"
    kept.write_text("\n".join(kept.read_text().splitlines()[:-1]))
    assert compare(sweep, "--analysis").out.count("scored (new: kept scores are of other images)") == 1
    assert (out / "analysis.csv").read_text() == before
    # Without the flag the next comparison uses the same scores, and leaves no analysis beside its tables.
    assert compare(sweep).out.count("scores of an earlier comparison") == 2
    assert not (out / "analysis.csv").exists()
    assert not list((out / "analysis").glob("*"))


@pytest.mark.parametrize("arguments", [("--limit", "0"), ("--table", "5"), ("--gallery-limit", "-1"), ()])
def test_wrong_flags_are_refused(in_process, arguments):
    done = in_process("compare", *(["somewhere"] if arguments else []), *arguments)
    assert done.code == 2
    assert "usage: lensblend compare" in done.err


def test_lpips_is_scored_with_the_weights_that_are_named(compare, sweep, tmp_path):
    files = [tmp_path / f"alexnet{seed}.pth" for seed in (0, 1)]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        state = torchvision.models.alexnet(weights=None).features.state_dict()
        torch.save({f"features.{key}": value for key, value in state.items()}, file)
    assert compare(sweep, "--lpips-weights", files[0]).code == 0
    before = rows(tmp_path / "out" / "scores.csv")
    assert all(0 < float(row["lpips"]) < 2 for row in before)
    assert compare(sweep).out.count("scores of an earlier comparison") == 2
    done = compare(sweep, "--lpips-weights", files[1], "--table", 1)
    assert done.out.count("another lpips_weights_sha256") == 2
    assert [row["lpips"] for row in rows(tmp_path / "out" / "scores.csv")] != [row["lpips"] for row in before]
    assert "ours LPIPS ↓" in done.out
    assert "Ours have no lpips" not in done.out


class Falling(PerImageMetric):
    """A value that falls by one from image to image, and from run to run; smaller is better."""

    name, heading, convention, decimals = "falling", "Falling", "as written here", 1
    higher_is_better = False

    def __init__(self):
        super().__init__()
        self.values = itertools.count(10, -1)

    def score(self, bokeh, target):
        return torch.tensor([float(next(self.values))])


def test_where_smaller_is_better_the_smaller_value_is_called_better(sweep, tmp_path):
    entries, left_out = find_entries([sweep])
    request = Request({"falling": Falling()}, torch.device("cpu"), limit=2)
    comparison = compare_entries(entries, left_out, None, request, lambda indices, _: indices)
    text = write_report(comparison, tmp_path / "out", [], 2)
    table = [row.strip("|").split("|") for row in text.splitlines() if row.startswith("|")]
    head, _, first, second = table[:4]
    assert [cell.strip() for cell in head[1:3]] == ["Falling ↓", "Δ Falling ↓"]
    assert [cell.strip() for cell in first[1:3]] == ["9.5 [9.0, 10.0]", "–"]
    assert [cell.strip() for cell in second[1:3]] == ["7.5 [7.0, 8.0]", "-2.0 [-2.0, -2.0] (too few)"]
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert '<td class="best">7.5' in page
    assert "<td>-2.0 [-2.0, -2.0] (too few)</td>" in page
    assert "<small>Falling 10.0</small>" in page
