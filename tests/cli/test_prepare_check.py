"""``lensblend prepare check``: a folder with one fault of each kind names every one of them, and nothing else."""

import csv
import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lensblend.preparation.findings import NOTES, REMEDIES

SHARED = Path(__file__).parents[2] / "../shared/data"


def scene(seed):
    """A photo of shapes that no two seeds share, with detail everywhere; as Pillow draws and OpenCV resizes."""
    rng = np.random.default_rng(seed)
    rough = cv2.resize(rng.uniform(20, 235, (7, 9, 3)).astype(np.float32), (240, 180), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.uniform(-40, 40, (60, 80, 3)).astype(np.float32), (240, 180), interpolation=cv2.INTER_LINEAR)
    return np.clip(rough + fine, 0, 255).astype(np.uint8)


def blurred(photo):
    """The photo as target: its right half out of focus."""
    target = photo.copy()
    target[:, 120:] = cv2.GaussianBlur(photo, (0, 0), 4)[:, 120:]
    return target


def save(pixels, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def photo_of(root, number):
    return root / f"Training/original/{number}.png"


def target_of(root, number):
    return root / f"Training/bokeh/{number}.png"


def add(root, number, photo, target):
    save(photo, photo_of(root, number))
    save(target, target_of(root, number))


def data_set(root, numbers):
    """Sound pairs of these numbers in the challenge's layout."""
    for number in numbers:
        add(root, number, scene(number), blurred(scene(number)))
    return root


def swap(photo, target):
    pixels = photo.read_bytes()
    photo.write_bytes(target.read_bytes())
    target.write_bytes(pixels)


def save_in_mode(path, mode):
    with Image.open(path) as image:
        changed = image.convert(mode)
    path.unlink()
    changed.save(path.with_suffix(".tif"))


def turned(path):
    with Image.open(path) as image:
        pixels = np.rot90(np.asarray(image))
    save(np.ascontiguousarray(pixels), path)


def darker(pixels, share=0.98):
    return (pixels * share).astype(np.uint8)


# What is done to the pair of a number, so that there is one fault of a kind; 200 more is a number that nobody has.
FAULTS = {
    "unreadable": lambda root, n: photo_of(root, n).write_bytes(photo_of(root, n).read_bytes()[:5000]),
    "empty": lambda root, n: target_of(root, n).write_bytes(b""),
    "unread format": lambda root, n: save(scene(n), root / f"Training/original/{n}.gif"),
    "wrong suffix": lambda root, n: photo_of(root, n).rename(photo_of(root, n).with_suffix(".jpg")),
    "too small": lambda root, n: add(root, n, scene(n)[:20], blurred(scene(n))[:20]),
    "no partner": lambda root, n: target_of(root, n).unlink(),
    "several": lambda root, n: save(scene(n + 200), root / f"Training/original/0{n}.png"),
    "size": lambda root, n: save(blurred(scene(n))[:160], target_of(root, n)),
    "orientation": lambda root, n: turned(target_of(root, n)),
    "equal": lambda root, n: save(scene(n), target_of(root, n)),
    "swapped": lambda root, n: swap(photo_of(root, n), target_of(root, n)),
    "misaligned": lambda root, n: save(np.roll(blurred(scene(n)), 5, axis=1), target_of(root, n)),
    "unrelated": lambda root, n: save(blurred(scene(n + 200)), target_of(root, n)),
    "duplicate": lambda root, n: (
        photo_of(root, n + 200).write_bytes(photo_of(root, n).read_bytes()),
        save(darker(blurred(scene(n))), target_of(root, n + 200)),
    ),
    "leakage": lambda root, n: add(root, 4400 + n, darker(scene(n)), darker(blurred(scene(n)))),
    "colour mode": lambda root, n: save_in_mode(photo_of(root, n), "CMYK"),
    "exposure": lambda root, n: save(darker(blurred(scene(n)), 0.6), target_of(root, n)),
    "nearly equal": lambda root, n: add(root, n + 200, darker(scene(n)), darker(blurred(scene(n)))),
    "belongs to nothing": lambda root, n: save(scene(n + 200), root / f"{n}.png"),
}
# Those of other layouts, or of a list.
OTHERWISE = {"alike names", "map shape", "absent", "changed", "unlisted", "bad list"}


@pytest.fixture
def checked(in_process, tmp_path):
    """Run the verb; return how it ended, and what was found as kind and file."""

    def run(*arguments):
        done = in_process("prepare", "check", *arguments, "--json", tmp_path / "found.json")
        findings = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["findings"]
        return done, [(finding["kind"], finding["file"]) for finding in findings]

    return run


def test_the_table_has_every_kind():
    assert {*FAULTS, *OTHERWISE} == {*REMEDIES, *NOTES}


def test_every_fault_is_named_in_one_run_and_nothing_else(checked, tmp_path):
    """Pairs 10 to 19 are sound."""
    numbers = {kind: 20 + place for place, kind in enumerate(FAULTS)}
    root = data_set(tmp_path / "set", [*range(10, 14), *numbers.values()])
    for kind, number in numbers.items():
        FAULTS[kind](root, number)
    done, found = checked(root)
    of_pair = {number: [kind for kind, file in found if int(Path(file).stem) % 200 == number] for number in range(90)}
    assert {n: set(kinds) for n, kinds in of_pair.items() if kinds} == {n: {kind} for kind, n in numbers.items()}
    assert len(found) == len(FAULTS) + 1  # both of a pair are too small
    assert done.code == 1
    assert f"{len(FAULTS) - 3} problems" in done.err
    assert "4 notes" in done.err
    assert all(f" {kind} " in done.out for kind in FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_alone(checked, tmp_path, kind):
    root = data_set(tmp_path / "set", [10, 11])
    FAULTS[kind](root, 10)
    done, found = checked(root)
    assert {kind for kind, _ in found} == {kind}
    assert done.code == (0 if kind in NOTES else 1)


@pytest.mark.slow
def test_sound_pairs_are_silent_in_two_processes(in_process, tmp_path):
    done = in_process("prepare", "check", data_set(tmp_path / "set", [10, 11]), "--workers", "2")
    assert done.code == 0, done.out + done.err
    assert done.out == "4 files, 2 pairs (layout: challenge): no problems\n"


PLACES = {
    "ebokehnet": "{}_src.png {}_tgt.png",
    "pynet": "train/original/{}.png train/bokeh/{}.png",
    "in_gt": "train/in/{}.png train/gt/{}.png",
    "input_target": "train/input/{}.png train/target/{}.png",
    "suffixes": "{}_input.png {}_gt.png",
}


@pytest.mark.parametrize("layout", PLACES)
def test_every_layout_that_can_be_prepared_can_be_checked(in_process, tmp_path, layout):
    for number in (3, 4):
        for place, pixels in zip(PLACES[layout].split(), (scene(number), blurred(scene(number))), strict=True):
            save(pixels, tmp_path / place.format(number))
    done = in_process("prepare", "check", tmp_path)
    assert (done.code, done.out) == (0, f"4 files, 2 pairs (layout: {layout}): no problems\n"), done.err


def test_two_folders_with_names_alike(checked, tmp_path):
    for name in ("a", "A"):
        save(scene(ord(name)), tmp_path / f"photos/{name}.png")
        save(blurred(scene(ord(name))), tmp_path / f"targets/{name}.png")
    done, found = checked("--photos", tmp_path / "photos", "--targets", tmp_path / "targets")
    assert [kind for kind, _ in found] == ["alike names"]
    assert done.code == 1


def test_photos_with_masks(checked, tmp_path):
    mask = np.zeros((180, 240), np.uint8)
    for name, plane in (("a", mask), ("b", mask.T), ("d", mask)):
        save(plane, tmp_path / f"set/masks/{name}.png")
    for number, name in enumerate("abc"):
        save(scene(number), tmp_path / f"set/photos/{name}.png")
    _, found = checked(tmp_path / "set")
    assert found == [
        ("map shape", "masks/b.png"),
        ("no partner", "masks/d.png"),
        ("no partner", "photos/c.png"),
    ]


def test_scenes_at_several_apertures(checked, tmp_path):
    for number, scene_name in enumerate(("1", "2", "3")):
        save(scene(number), tmp_path / f"set/{scene_name}/f22.png")
        save(blurred(scene(number)), tmp_path / f"set/{scene_name}/f2.0.png")
    save(np.roll(blurred(scene(0)), 6, axis=0), tmp_path / "set/1/f2.8.png")
    (tmp_path / "set/2/f22.png").unlink()
    save(scene(9), tmp_path / "set/3/old.png")
    _, found = checked(tmp_path / "set")
    assert found == [
        ("misaligned", "1/f2.8.png"),
        ("no partner", "2/f2.0.png"),
        ("belongs to nothing", "3/old.png"),
    ]


def manifest_of(root):
    rows = [
        [str(file.relative_to(root)), hashlib.sha256(file.read_bytes()).hexdigest()]
        for file in sorted(root.rglob("*.png"))
    ]
    return [["file", "sha256"], *rows]


def write_list(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def test_what_differs_from_a_list(checked, tmp_path):
    root = data_set(tmp_path / "set", [10, 11, 12])
    rows = manifest_of(root)
    write_list(root / "manifest.csv", rows)
    photo_of(root, 11).rename(tmp_path / "elsewhere.png")
    photo_of(root, 11).symlink_to(tmp_path / "elsewhere.png")
    done, found = checked("--manifest", root / "manifest.csv")
    assert (done.code, found) == (0, [])
    write_list(
        root / "manifest.csv", [*rows[:-1], ["Training/bokeh/13.png", ""], ["../x.png", ""], ["/etc/passwd", ""]]
    )
    save(blurred(scene(10)), target_of(root, 10), compress_level=1)
    done, found = checked(root, "--manifest", root / "manifest.csv")
    assert found == [
        ("bad list", "manifest.csv"),
        ("bad list", "manifest.csv"),
        ("changed", "Training/bokeh/10.png"),
        ("absent", "Training/bokeh/13.png"),
        ("unlisted", "Training/original/12.png"),
    ]
    assert done.code == 1


def test_names_are_printed_safely_and_no_cell_is_a_formula(in_process, tmp_path):
    names = ["=cmd|' x'!A1", "+1", "-1", "@a", "a|b\nc", "\x1b[2J", "<b>", os.fsdecode(b"caf\xe9")]
    for name in names:
        save(scene(1)[:40, :40], tmp_path / f"set/{name}.png")
        (tmp_path / f"set/{name}.png").write_bytes(b"")
    done = in_process("prepare", "check", tmp_path / "set", "--csv", tmp_path / "found.csv")
    rows = list(csv.reader((tmp_path / "found.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 1 + len(names) == len(done.out.splitlines()) - 1
    assert {row[0] for row in rows[1:]} == {
        *("'=cmd|' x'!A1.png", "'+1.png", "'-1.png", "'@a.png"),
        *("a|b\\nc.png", "\\x1b[2J.png", "<b>.png", "caf\\udce9.png"),
    }
    assert all(text.isprintable() for text in done.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Nothing to look at"),
        (["--photos", "a"], "both --photos and --targets"),
        (["."], "has none of the known layouts"),
        (["nowhere"], "is not a folder"),
        (["--workers", "0", "."], "from 1 to 256"),
        (["--manifest", "nowhere.csv"], "no readable list"),
        (["--csv", "/proc/none/a.csv", "."], "could not be written"),
    ],
)
def test_bad_requests(in_process, tmp_path, arguments, said):
    done = in_process("prepare", "check", *arguments, cwd=tmp_path)
    assert done.code == (1 if "--csv" in arguments else 2)
    assert said in done.err


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the samples in ../shared/data")
@pytest.mark.parametrize(("name", "pairs"), [("ebb-sample", 3), ("realbokeh-sample", 8)])
def test_real_pairs_are_sound(checked, name, pairs):
    done, found = checked(SHARED / name)
    assert (done.code, found) == (0, [])
    assert f", {pairs} pairs" in done.out
