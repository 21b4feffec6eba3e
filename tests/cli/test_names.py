"""Names of people's files and folders, from end to end: through every verb, and into every file that it writes."""

import csv
import io
import json
import os

import numpy as np
import pytest
import yaml

from hostile_names import NAMES
from lensblend.comparison.csv_tables import scores_csv
from lensblend.comparison.gallery import Gallery
from lensblend.data.images import write_image
from lensblend.errors import StorageError
from lensblend.inference.evaluation import match_folders, score_folders, write_scores
from lensblend.inference.pictures import cells, sheet
from lensblend.metrics.fidelity import Psnr
from lensblend.runs.documents import read_yaml
from lensblend.storage import write_atomically

PICTURE = np.zeros((8, 8, 3), np.uint8)
# One name with nearly all of the table in it.
WORST = "".join(NAMES[key] for key in ("a comma", "both", "half a bracket", "a dollar", "a percent sign")) + "".join(
    NAMES[key] for key in ("a backslash before a quote", "街", "combining", "joined emoji", "no UTF-8", "a newline")
)
SMALL = [
    *("debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "metrics.ssim=null", "data=folder"),
    *("schedule.run=[phase1]", "loader.num_workers=0", "schedule.every_phase.batch_size=1"),
]


def written(name):
    """Return a name as it stands in a file of text, which is UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def as_cell(name):
    """Return a name as it stands in a table, where what a spreadsheet would compute begins with an apostrophe."""
    return f"'{written(name)}" if name[0] in "=+-@\t\r" else written(name)


def test_folders_of_any_names_are_scored_and_written_down(tmp_path):
    short = {key: name for key, name in NAMES.items() if len(os.fsencode(name)) < 251 and not name.startswith(".")}
    short.pop("combining")  # one name with the composed one, which is refused
    for folder in ("predictions", "targets"):
        (tmp_path / folder).mkdir()
        for name in short.values():
            write_image(tmp_path / folder / f"{name}.png", PICTURE)
    files = match_folders(tmp_path / "predictions", tmp_path / "targets")
    assert {name for name, *_ in files} == set(short.values())
    scores = score_folders({"psnr": Psnr()}, files)
    write_scores(tmp_path / WORST, {"psnr": Psnr}, scores, {"predictions": str(tmp_path / WORST)})
    rows = list(csv.DictReader(io.StringIO((tmp_path / WORST / "scores.csv").read_text("utf-8"), newline="")))
    assert {row["id"] for row in rows} == {as_cell(name) for name in short.values()}
    assert json.loads((tmp_path / WORST / "metrics.json").read_text("utf-8"))["predictions"] == str(tmp_path / WORST)


def test_pages_tables_and_sheets_take_any_names(tmp_path):
    gallery = Gallery(WORST, {"psnr": Psnr})
    for name in NAMES.values():
        gallery.add(name, cells(PICTURE, PICTURE, PICTURE, []), {"psnr": 1.0})
    gallery.write(tmp_path, WORST, {WORST: {"psnr": 1.0}})
    page = (tmp_path / "gallery.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert written("caf\udce9") in page
    assert sheet({name: {"photo": PICTURE} for name in NAMES.values()}).height > 0
    table = {name: {"a": {"psnr": 1.0}} for name in NAMES.values()}
    write_atomically(tmp_path / "scores.csv", scores_csv(table, {"psnr": Psnr}))
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == [as_cell(name) for name in NAMES.values()]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_records_texts_come_back_from_yaml(tmp_path, name):
    write_atomically(tmp_path / "config.yaml", yaml.safe_dump({"data": {"photos": name}}, sort_keys=False))
    assert read_yaml(tmp_path / "config.yaml", as_typed=True) == {"data": {"photos": name}}


def test_a_name_that_is_too_long_is_answered_with_its_limit(tmp_path):
    with pytest.raises(StorageError, match="255 bytes at most"):
        write_atomically(tmp_path / ("x" * 300) / "a", "")


LONG = "x" * 300


@pytest.mark.parametrize(
    "command",
    [
        *(["train", f"{key}=out/{LONG}"] for key in ("run_dir", "hydra.run.dir", "resume")),
        ["evaluate", f"checkpoint={LONG}", "output=out"],
        ["evaluate", f"predictions={LONG}", f"targets={LONG}", "output=out"],
        ["render", LONG, "--model", LONG, "--output", "out"],
        ["compare", LONG],
    ],
    ids=lambda command: " ".join(command)[:24],
)
def test_what_no_file_system_takes_is_answered_in_a_line(in_process, tmp_path, command):
    done = in_process(*command, cwd=tmp_path)
    assert done.code in (1, 2)
    assert LONG in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_every_verb_takes_any_name(in_process, tmp_path):
    home = tmp_path / WORST
    for folder in ("photos", "targets"):
        (home / folder).mkdir(parents=True)
        for index, name in enumerate([WORST, "街", "a.b", "a b", " c"]):
            pixels = np.full((40, 48, 3), 20 * index + (folder == "photos") * 9, np.uint8)
            write_image(home / folder / f"{name}.png", pixels)
    data = [f"data.photos={home}/photos", f"data.targets={home}/targets", "data.val_fraction=0.5"]
    runs = [home / "lr=1e-3, a b", home / "5"]
    for run in runs:
        done = in_process("train", *SMALL, *data, f"run_dir={run}")
        assert done.code == 0, done.err
    done = in_process("train", f"resume={runs[0]}", "schedule.run=[phase1,phase2]")
    assert done.code == 0, done.err
    assert "phase1: done before" in done.out
    done = in_process("train", *SMALL, *data, f"init_from={runs[0]}", f"run_dir={home}/third")
    assert done.code == 0, done.err
    done = in_process("evaluate", f"checkpoint={runs[0]}", f"output={home}/out", "gallery=true", "split=train")
    assert done.code == 0, done.err
    scored = (home / "out" / "scores.csv").read_text("utf-8")
    photos = home / "photos"
    done = in_process("render", photos, "--model", runs[0], "--output", home / "rendered", "--weights")
    assert done.code == 0, done.err
    assert {path.name for path in photos.iterdir()} <= {path.name for path in (home / "rendered").iterdir()}
    done = in_process("compare", *runs, home / "third", "--output", home / "compared", "--phase", "phase1")
    assert done.code == 0, done.err
    assert (home / "compared" / "compare.md").read_text("utf-8")
    assert "id," in scored
