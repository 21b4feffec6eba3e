"""Archives and folders of every layout become data sets that the project's own sources read."""

import csv
import hashlib
import os
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lensblend.data.catalogue import Ebb, Folders
from lensblend.data.realbokeh import RealBokeh
from lensblend.preparation import datasets, layouts, placing

EBB = Path(__file__).parents[2] / "../shared/data/ebb-sample"
REALBOKEH = Path(__file__).parents[2] / "../shared/data/realbokeh-sample"
COARSE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)


def write(path, number, blur=0):
    """A picture of its own for each number, blurred or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.roll(COARSE, number, axis=1)
    Image.fromarray(cv2.blur(picture, (blur, blur)) if blur else picture).save(path, quality=95)


def two(root, photos, targets, names, suffix="jpg"):
    for name in names:
        write(root / photos.format(name), int(re.sub(r"\D", "", name)))
        write(root / targets.format(name), int(re.sub(r"\D", "", name)), blur=3)


def challenge(root):
    two(root, "Training/original/{}.jpg", "Training/bokeh/{}.jpg", ["0", "10", "4400", "9999"])


def pynet(root):
    for part in ("train", "test"):
        two(root, part + "/original/{}.jpg", part + "/bokeh/{}.jpg", ["3"])
    cv2.imwrite(str(root / "train/original_depth.png"), np.full((24, 32), 51, dtype=np.uint8))
    (root / "train/original_depth").mkdir()
    (root / "train/original_depth.png").rename(root / "train/original_depth/3.png")


def ebokehnet(root):
    two(root, "{}_src.jpg", "{}_tgt.jpg", ["0007", "4693"])


def in_gt(root):
    two(root, "train/in/{}.jpg", "train/gt/{}.jpg", ["1"])
    two(root, "validation/in/{}.jpg", "validation/gt/{}.jpg", ["1"])


def input_target(root):
    two(root, "train/input/{}.png", "train/target/{}.png", ["1", "2"])
    two(root, "test/input/{}.png", "test/target/{}.png", ["1"])


def suffixes(root):
    two(root, "{}_input.png", "{}_gt.png", [f"leaf{number}" for number in range(30)])


def scenes(root):
    for scene in ("4641", "4917"):
        for number in ("2.0", "14", "22"):
            write(root / scene / f"f{number}.jpg", int(scene), 0 if number == "22" else 3)


def realbokeh(root):
    for part, scene in (("train", "1"), ("validation", "1"), ("test", "1")):
        write(root / part / f"in/{scene}_f22.JPG", 5)
        for number in ("2.0", "20"):
            write(root / part / f"gt/{scene}/{scene}_f{number}.JPG", 5, blur=3)


def vabd(root):
    for number in range(30):
        for folder in ("input", "1_8", "2_8", "8"):
            write(root / "train" / folder / f"{number}.png", number, 0 if folder == "input" else 3)


# Layout: how it is made; the ids that train and validate; files that the prepared folder has; its source.
CASES = {
    "challenge": (challenge, ["0", "10"], ["4400"], "Training/bokeh/9999.jpg", Ebb),
    "pynet": (pynet, ["3"], [], "Training/original_depth/3.png", Ebb),
    "ebokehnet": (ebokehnet, ["7"], ["4693"], "Training/original/7.jpg", Ebb),
    "in_gt": (in_gt, ["1"], ["validation-1"], "Training/bokeh/validation-1.jpg", Ebb),
    "input_target": (input_target, None, None, "Training/bokeh/test-1.png", Ebb),
    "suffixes": (suffixes, None, None, "Training/original/leaf7.png", Folders),
    "scenes": (scenes, None, None, "4641/f14.jpg", RealBokeh),
    "realbokeh": (
        realbokeh,
        ["1-f2.0", "1-f20"],
        ["validation-1-f2.0", "validation-1-f20"],
        "test-1/f22.jpg",
        RealBokeh,
    ),
    "vabd": (vabd, None, None, "7/f2.8.png", RealBokeh),
}


def prepared(in_process, source, output, *flags, quality=False):
    flags = flags if quality else (*flags, "--no-quality")
    return in_process("prepare", "data", source, "--output", output, "--workers", 1, *flags)


def command(out):
    """The arguments of the command that ends what was said."""
    return dict(word.split("=") for word in out.splitlines()[-1].partition("lensblend train ")[2].split())


def opened(out):
    arguments = command(out)
    kind = {"ebb": Ebb, "realbokeh": RealBokeh, "folder": Folders}[arguments.pop("data")]
    values = {name.removeprefix("data."): value for name, value in arguments.items()}
    return kind(**{name: float(value) if name == "val_fraction" else value for name, value in values.items()})


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tree(folder):
    """All files below a folder with their bytes and times."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_nlink) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("layout", CASES)
def test_every_layout_is_found_and_read_again_by_its_source(tmp_path, in_process, layout):
    make, train, val, file, source = CASES[layout]
    make(tmp_path / "in" / "around")
    before = tree(tmp_path / "in")
    done = prepared(in_process, tmp_path / "in", tmp_path / "out")
    assert done.code == 0, done.err
    assert f"Layout: {layout}, in `{tmp_path}/in/around`" in done.out
    assert (tmp_path / "out" / file).is_symlink()
    read = opened(done.out)
    assert type(read) is source
    ids = {part: read.split(part).ids for part in ("train", "val")}
    if train is not None:
        assert (ids["train"], ids["val"]) == (train, val)
    manifest = rows(tmp_path / "out/manifest.csv")
    for part, found in ids.items():
        assert len(found) == sum(
            row["split"] == part and "original_depth" not in row["file"] for row in manifest
        ) - len({row["id"] for row in manifest if row["split"] == part})
    pair = read.split("train").load(0)
    assert pair.photo.shape == pair.target.shape == (48, 64, 3)
    assert (
        np.abs(cv2.Laplacian(pair.photo, cv2.CV_64F)).mean()
        > 1.2 * np.abs(cv2.Laplacian(pair.target, cv2.CV_64F)).mean()
    )
    assert (pair.f_number is not None) == (source is RealBokeh)
    assert tree(tmp_path / "in") == before
    for row in manifest:
        path = tmp_path / "out" / row["file"]
        assert (row["sha256"], int(row["bytes"])) == (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_size,
        )
        with Image.open(path) as image:
            assert (int(row["width"]), int(row["height"])) == image.size


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_becomes_files_of_the_output(tmp_path, in_process, kind):
    challenge(tmp_path / "in/EBB")
    (tmp_path / "in/EBB/run.py").write_text("print(1)")
    archive = Path(shutil.make_archive(str(tmp_path / "ebb"), {"zip": "zip", "tar.gz": "gztar"}[kind], tmp_path / "in"))
    dry = prepared(in_process, archive, tmp_path / "out", "--dry-run")
    assert (dry.code, (tmp_path / "out").exists()) == (0, False)
    assert "Layout: challenge, in `EBB` of the archive; 8 images and lists would be unpacked" in dry.out
    done = prepared(in_process, archive, tmp_path / "out")
    assert done.code == 0, done.err
    assert "neither images nor lists: 1 .py" in done.out
    assert opened(done.out).counts == {"train": 2, "val": 1}
    photo = tmp_path / "out/Training/original/10.jpg"
    assert not photo.is_symlink()
    assert photo.read_bytes() == (tmp_path / "in/EBB/Training/original/10.jpg").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in", "out", archive.name])
    again = prepared(in_process, archive, tmp_path / "out")
    assert "is prepared already" in again.out


def test_a_hostile_archive_leaves_nothing(tmp_path, in_process):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    done = prepared(in_process, tmp_path / "a.tar", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "its member 'a.jpg' is a link" in done.err
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.jpg", b"x")
    done = prepared(in_process, tmp_path / "b.zip", tmp_path / "out")
    assert done.code == 2
    assert "has no known layout; known are challenge: " in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.zip"]


def test_copies_are_bytes_of_their_own(tmp_path, in_process):
    scenes(tmp_path / "in")
    done = prepared(in_process, tmp_path / "in", tmp_path / "out", "--copy")
    assert done.code == 0, done.err
    copy = tmp_path / "out/4641/f2.0.jpg"
    assert not copy.is_symlink()
    assert copy.stat().st_nlink == 1
    assert copy.read_bytes() == (tmp_path / "in/4641/f2.0.jpg").read_bytes()


def test_what_was_stopped_is_gone_on_from(tmp_path, in_process, monkeypatch):
    challenge(tmp_path / "in")
    hashed, sha256 = [], placing.file_sha256

    def stopping(path):
        if len(hashed) == 5:
            raise KeyboardInterrupt
        hashed.append(path)
        return sha256(path)

    monkeypatch.setattr(placing, "file_sha256", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepared(in_process, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out/manifest.csv").exists()
    other = prepared(in_process, tmp_path / "in", tmp_path / "out", "--copy")
    assert (other.code, "another preparation" in other.err) == (2, True)
    monkeypatch.setattr(placing, "file_sha256", lambda path: hashed.append(path) or sha256(path))
    with (tmp_path / "out" / placing.PROGRESS).open("a") as file:
        file.write('{"file": "cut')
    done = prepared(in_process, tmp_path / "in", tmp_path / "out")
    assert done.code == 0, done.err
    assert len(set(hashed)) == 8
    assert 8 <= len(hashed) <= 9
    assert len(rows(tmp_path / "out/manifest.csv")) == 8
    assert not (tmp_path / "out" / placing.PROGRESS).exists()


def test_quality_is_measured_and_an_exclusion_proposed_but_not_applied(tmp_path, in_process):
    scenes(tmp_path / "in")
    write(tmp_path / "in/4641/f14.jpg", 4641)  # the photo itself
    done = prepared(in_process, tmp_path / "in", tmp_path / "out", quality=True)
    assert done.code == 0, done.err
    assert "Quality: 1 of 4 pairs are doubtful" in done.out
    measured = {row["id"]: row for row in rows(tmp_path / "out/quality.csv")}
    assert set(measured) == {"4641-f2.0", "4641-f14", "4917-f2.0", "4917-f14"}
    assert measured["4641-f14"]["problems"].startswith("the target is the photo")
    assert float(measured["4641-f2.0"]["gain"]) > 1.2
    proposed = (tmp_path / "out/exclude.txt").read_text()
    assert [line for line in proposed.splitlines() if line[0] != "#"] == ["4641-f14"]
    assert "0.6% of the width" in proposed
    everything = opened(done.out)
    assert sum(len(everything.split(part).ids) for part in ("train", "val")) == 4
    rest = RealBokeh(str(tmp_path / "out"), val_fraction=0.0, exclude=str(tmp_path / "out/exclude.txt"))
    assert rest.split("train").ids == ["4641-f2.0", "4917-f2.0", "4917-f14"]


def test_counts_are_held_against_the_published_and_what_belongs_to_no_pair_is_said(tmp_path, in_process):
    challenge(tmp_path / "in")
    write(tmp_path / "in/preview/1.jpg", 1)
    dry = prepared(in_process, tmp_path / "in", tmp_path / "out", "--dry-run")
    assert (dry.code, (tmp_path / "out").exists()) == (0, False)
    assert "4 pairs (2 train, 1 val, 1 in no split), 8 files" in dry.out
    assert "Published: 4400 pairs in train; here: 2." in dry.out
    assert f"1 images belong to no pair and are left out, such as `{tmp_path}/in/preview/1.jpg`" in dry.out


REFUSED = {
    "nothing there": ((lambda p: None), (), "is not there"),
    "a photo": (
        (lambda p: (p / "in").write_bytes(b"\xff\xd8")),
        (),
        "neither a folder nor",
    ),
    "no layout": ((lambda p: write(p / "in/a/b/1.jpg", 1)), (), "has no known layout"),
    "two layouts": ((lambda p: (challenge(p / "in"), ebokehnet(p / "in"))), (), "layouts challenge and ebokehnet"),
    "another layout": ((lambda p: challenge(p / "in")), ("--layout", "vabd"), "not the layout vabd"),
    "a misspelt layout": ((lambda p: challenge(p / "in")), ("--layout", "vabt"), "did you mean 'vabd'"),
    "no threads": ((lambda p: challenge(p / "in")), ("--workers", "0"), "from 1 to 256"),
    "a full output": ((lambda p: (challenge(p / "in"), write(p / "out/1.jpg", 1))), (), "is not empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_prepared_is_refused_in_a_line(tmp_path, in_process, case):
    make, flags, says = REFUSED[case]
    make(tmp_path)
    before = tree(tmp_path)
    done = prepared(in_process, tmp_path / "in", tmp_path / "out", *flags)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert tree(tmp_path) == before


def test_an_output_in_the_source_is_refused_and_files_that_do_not_fit_are_listed(tmp_path, in_process):
    challenge(tmp_path / "in")
    inside = prepared(in_process, tmp_path / "in", tmp_path / "in/out")
    assert (inside.code, "lie in each other" in inside.err) == (2, True)
    os.remove(tmp_path / "in/Training/bokeh/10.jpg")
    (tmp_path / "in/Training/original/0.jpg").write_bytes(b"no photo")
    done = prepared(in_process, tmp_path / "in", tmp_path / "out")
    assert done.code == 1
    assert "`10` has no target" in done.err
    assert "0.jpg" in done.err
    assert not (tmp_path / "out").exists()


def test_every_layout_has_a_case():
    assert list(CASES) == list(layouts.LAYOUTS)
    assert set(layouts.PUBLISHED) | set(layouts.PUBLISHED_FILES) <= set(CASES)
    assert datasets.MANIFEST == "manifest.csv"


@pytest.mark.slow
@pytest.mark.parametrize("source", [EBB, REALBOKEH])
def test_the_real_samples(tmp_path, in_process, source):
    if not source.is_dir():
        pytest.skip("the real samples are not here")
    before = tree(source)
    done = prepared(in_process, source, tmp_path / "out", quality=True)
    assert done.code == 0, done.err
    assert "Quality: 0 of " in done.out
    assert tree(source) == before
    read = opened(done.out)
    assert len(read.split("train").ids) == (3 if source == EBB else 8)
