import csv
import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lensblend.runs.checkpoints import load_network
from lensblend.runs.recorded import recorded_data


def scores(folder):
    with (folder / "scores.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def evaluated(lensblend, trained, tmp_path_factory):
    """The trained run's evaluation with references and gallery, on the data that it was trained on."""
    output = tmp_path_factory.mktemp("evaluated")
    done = lensblend(
        "evaluate", f"checkpoint={trained}", f"output={output}", "limit=3", "references=true", "gallery=true"
    )
    assert done.code == 0, done.err
    return output, done


def test_every_image_has_a_row_and_the_means_their_conventions(evaluated, trained):
    output, _ = evaluated
    rows = scores(output)
    content = json.loads((output / "metrics.json").read_text())
    assert content["count"] == len(rows) == 3
    for name in ("psnr", "ssim", "ssim_wang"):
        assert content[name] == pytest.approx(np.mean([float(r[name]) for r in rows.values()]), rel=1e-6)
        assert content["conventions"][name]
    checkpoint = trained / "phase3" / "best.ckpt"
    assert content["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_missing_lpips_weights_leave_the_column_out_and_say_so(evaluated):
    output, done = evaluated
    assert "lpips" not in next(iter(scores(output).values()))
    assert done.out.count("`lpips` is left out") == 1


def test_the_photo_and_every_uniform_blur_are_scored(evaluated):
    output, done = evaluated
    references = json.loads((output / "metrics.json").read_text())["references"]
    assert list(references) == ["photo", "gaussian 25", "gaussian 45", "gaussian 75"]
    assert all(name in done.out for name in references)


def test_the_gallery_is_one_file_with_every_picture(evaluated, picture):
    output, _ = evaluated
    page = (output / "gallery.html").read_text()
    # Photo, target, bokeh and four weight maps for each of three pairs.
    assert page.count("data:image/") == 3 * 7
    assert "default-src &#39;none&#39;" in page
    means = json.loads((output / "metrics.json").read_text())
    assert f'<th scope="row">phase3</th><td>{means["psnr"]:.2f}</td>' in page
    assert f'<th scope="row">photo</th><td>{means["references"]["photo"]["psnr"]:.2f}</td>' in page
    assert picture(output / "sheet.png").shape[0] > 3 * 192


def test_full_resolution_blending_the_training_split_flips_and_what_is_in_focus(in_process, trained, tmp_path):
    request = f"checkpoint={trained}/phase2", f"output={tmp_path}", "limit=2", "split=train", "blend_at=photo"
    done = in_process("evaluate", *request, "tta=flips", "metrics=focus", "focus=truth", "gallery=true")
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert (content["split"], content["blend_at"], content["phase"]) == ("train", "photo", "phase2")
    assert (content["tta"], content["focus"]) == ("flips", {"_target_": "lensblend.inference.guidance.Truth"})
    # By masks, the whole error is that of the two regions, each as large as it is.
    source = recorded_data(load_network(trained / "phase2" / "best.ckpt").config, trained, is_run=True)
    pairs = source.split("train")
    for index, row in enumerate(scores(tmp_path).values()):
        share = pairs.load(index).maps["mask"].mean()
        error = {name: 10 ** (-float(row[name]) / 10) for name in ("psnr", "psnr_in", "psnr_out")}
        assert error["psnr"] == pytest.approx(share * error["psnr_in"] + (1 - share) * error["psnr_out"], rel=1e-5)
        assert float(row["edges"]) > 0


def test_folders_score_as_scikit_image_does(in_process, picture, tmp_path):
    random = np.random.default_rng(0)
    for name in ("predictions", "targets"):
        (tmp_path / name).mkdir()
    for index in range(2):
        target = random.integers(0, 256, (48, 64, 3)).astype(np.uint8)
        prediction = np.clip(target + random.integers(-9, 10, target.shape), 0, 255).astype(np.uint8)
        Image.fromarray(target).save(tmp_path / "targets" / f"{index}.png")
        Image.fromarray(prediction).save(tmp_path / "predictions" / f"{index}.png")
        # The first photo differs from its target on the right alone, the second nowhere: all of it is in focus.
        target[:, 32 + 99 * index :] = 0
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(target).save(tmp_path / "photos" / f"{index}.png")
    folders = [f"{name}={tmp_path / name}" for name in ("predictions", "targets", "photos")]
    done = in_process("evaluate", *folders, f"output={tmp_path / 'out'}", "metrics=focus")
    assert done.code == 0, done.err
    assert "PSNR elsewhere: over 1 of 2 images; in the others the region is too small." in done.out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["lacking"] == dict.fromkeys(
        ("psnr_out", "ssim_out", "edges"), 1
    )
    inside = {name: row["psnr_out"] for name, row in scores(tmp_path / "out").items()}
    assert inside["1"] == ""
    ours, theirs = (picture(tmp_path / f / "0.png")[:, 33:] for f in ("predictions", "targets"))
    assert float(inside["0"]) == pytest.approx(peak_signal_noise_ratio(theirs, ours), abs=0.1)
    for name, row in scores(tmp_path / "out").items():
        ours, theirs = (picture(tmp_path / f / f"{name}.png") for f in ("predictions", "targets"))
        assert float(row["psnr"]) == pytest.approx(peak_signal_noise_ratio(theirs, ours), abs=1e-4)
        assert float(row["ssim"]) == pytest.approx(structural_similarity(theirs, ours, channel_axis=2), abs=1e-5)


def test_the_first_of_two_folders_are_scored_where_a_limit_is_set(in_process, tmp_path):
    for name in ("predictions", "targets"):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.new("RGB", (40, 40), (index, 0, len(name))).save(tmp_path / name / f"{index}.png")
    folders = [f"{name}={tmp_path}/{name}" for name in ("predictions", "targets")]
    done = in_process("evaluate", *folders, f"output={tmp_path}/out", "limit=2")
    assert done.code == 0, done.err
    assert set(scores(tmp_path / "out")) == {"0", "1"}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("saliency=truth", "`saliency=truth` would have no effect: neither DepthBlend nor the data takes saliency"),
        ("disparity=truth", "`disparity=truth` would have no effect: neither DepthBlend nor the data takes disparity"),
        ("image_size=[]", "`image_size` is (height, width), both positive, but got []"),
    ],
)
def test_what_a_network_has_no_use_for_is_refused(in_process, trained, tmp_path, setting, says):
    done = in_process("evaluate", f"checkpoint={trained}", f"output={tmp_path}", setting)
    assert done.code == 2
    assert says in done.err
    assert not (tmp_path / "scores.csv").exists()


def test_a_missing_partner_ends_with_one_message(in_process, tmp_path):
    for name in ("predictions", "targets"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / name / f"{name}.png")
    done = in_process(
        "evaluate", f"predictions={tmp_path}/predictions", f"targets={tmp_path}/targets", f"output={tmp_path}/out"
    )
    assert done.code == 1
    assert "2 of the images cannot be scored" in done.err


def test_pairs_can_be_scored_at_the_networks_size(in_process, trained, tmp_path):
    random = np.random.default_rng(5)
    expected = []
    for name in ("photos", "targets"):
        (tmp_path / name).mkdir()
    for index in range(2):
        images = {}
        for name in ("photos", "targets"):
            images[name] = Image.fromarray(random.integers(0, 256, (64, 96, 3)).astype(np.uint8))
            images[name].save(tmp_path / name / f"{index}.png")
        # The smoke form trains at 32x48, height by width.
        small = [np.asarray(images[n].resize((48, 32), Image.Resampling.LANCZOS)) for n in ("targets", "photos")]
        expected.append(peak_signal_noise_ratio(*small))
    done = in_process(
        "evaluate",
        f"checkpoint={trained}",
        "data=folder",
        f"data.photos={tmp_path}/photos",
        f"data.targets={tmp_path}/targets",
        "split=train",
        "score_at=network",
        "references=true",
        f"output={tmp_path}/out",
    )
    assert done.code == 0, done.err
    references = json.loads((tmp_path / "out" / "metrics.json").read_text())["references"]
    assert references["photo"]["psnr"] == pytest.approx(np.mean(expected), abs=1e-4)


def test_several_checkpoints_are_scored_as_the_mean_of_their_renderings(in_process, evaluated, trained, tmp_path):
    alone, _ = evaluated
    # Three equal members: the mean is each of them, up to rounding, which 8 bits take away.
    done = in_process("evaluate", f"checkpoint=[{trained},{trained},{trained}]", f"output={tmp_path}", "limit=3")
    assert done.code == 0, done.err
    for name, row in scores(alone).items():
        assert {k: float(v) for k, v in scores(tmp_path)[name].items() if k != "id"} == pytest.approx(
            {k: float(v) for k, v in row.items() if k != "id"}, abs=0.01
        )
    assert json.loads((tmp_path / "metrics.json").read_text())["checkpoint"] == [str(trained)] * 3
    assert "mean of 3" in done.out


def test_no_picture_is_made_that_nobody_asked_for(in_process, trained, tmp_path, monkeypatch):
    import lensblend.comparison.gallery as gallery
    import lensblend.inference.evaluation as evaluation

    made = []
    for module, name in ((gallery, "encode"), (evaluation, "cells"), (evaluation, "weight_maps")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=original, n=name: made.append(n) or f(*a))
    for asked, expected in (("false", set()), ("true", {"encode", "cells", "weight_maps"})):
        output = tmp_path / asked
        done = in_process("evaluate", f"checkpoint={trained}", f"output={output}", "limit=1", f"gallery={asked}")
        assert done.code == 0, done.err
        assert set(made) == expected
        assert (output / "gallery.html").exists() == (asked == "true")


@pytest.mark.parametrize("named", ["checkpoint=unused", "predictions=unused"])
def test_an_output_that_cannot_be_written_is_refused_first(in_process, tmp_path, named):
    (tmp_path / "file").touch()
    both = [named, "targets=unused"] if "predictions" in named else [named]
    for output in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        done = in_process("evaluate", *both, f"output={output}", f"hydra.run.dir={tmp_path / 'hydra'}")
        assert done.code == 1
        assert f"{output} could not be written" in done.err
        assert "unused" not in done.err


def test_paths_are_meant_from_where_the_command_is_typed_whatever_folder_hydra_changes_to(in_process, tmp_path):
    base = tmp_path
    for name, level in {"predictions": 90, "targets": 100}.items():
        (base / name).mkdir()
        for stem in "01":
            Image.new("RGB", (52, 40), (level, 40, 60 + int(stem))).save(base / name / f"{stem}.png")
    for name, options in {"plain": [], "there": ["hydra.run.dir=else/where"]}.items():
        for chdir in ("false", "true"):
            output = f"scores-{name}-{chdir}"
            request = ["predictions=predictions", "targets=targets", f"output={output}", f"hydra.job.chdir={chdir}"]
            done = in_process("evaluate", *request, *options, cwd=base)
            assert done.code == 0, done.err
            assert set(scores(base / output)) == {"0", "1"}
    assert not [path for path in (base / "else").rglob("*") if path.is_file()]
