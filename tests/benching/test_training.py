"""What a short training that is timed is asked for, and what its time becomes in tables."""

import csv
import io
import json

import pytest

from lensblend.benching import training
from lensblend.benching.training import arguments_of, check_overrides, phases_in, write_training
from lensblend.errors import DataError, RequestError
from lensblend.training.callbacks import parts

PHASE = {"steps": 4, "first": 3.0, "step": 0.5, "validation": None, "batch": 8, "loader": 0.25}
PHASE |= {"data": 0.1, "transfer": 0.0, "forward": 0.2, "backward": 0.1, "optimizer": 0.05, "logging": 0.05}


def test_both_sides_know_the_same_parts():
    assert (training.FILE, training.PARTS) == (parts.FILE, parts.PARTS)


@pytest.mark.parametrize("override", [f"{key}=1" for key in training.OURS] + ["hydra.run.dir=x", "+trainer.profiler=x"])
def test_what_the_measurement_sets_is_not_taken(override):
    with pytest.raises(RequestError, match="would have no effect: `lensblend bench training` sets it itself"):
        check_overrides(["seed=1", override])


def test_other_overrides_are_passed_on():
    given = ["experiment=demo", "trainer.profile_x=1", "~callbacks.panels", "schedule.every_phase.batch_size=2"]
    check_overrides(given)
    assert arguments_of(given, 7)[:4] == given
    assert {"++trainer.limit_train_batches=8", "+callbacks.parts.batches=7"} <= set(arguments_of(given, 7))


def test_phases_come_in_the_order_in_which_they_trained(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "parts.json").write_text(json.dumps(PHASE))
    assert [phase["phase"] for phase in phases_in(tmp_path)] == ["b", "a"]
    with pytest.raises(DataError, match="ended without a step"):
        phases_in(tmp_path / "a")


def test_rates_are_of_steps_and_of_photos(tmp_path):
    bare = {**dict.fromkeys(PHASE), "steps": 0, "batch": 8, "phase": "scored"}
    text = write_training([{"phase": "phase1", **PHASE}, bare], 4, {"command": "x"}, tmp_path)
    first, second = csv.DictReader(io.StringIO((tmp_path / "bench.csv").read_text()))
    rates = ("steps_per_second", "photos_per_second", "loader_photos_per_second")
    assert [float(first[name]) for name in rates] == [2.0, 16.0, 32.0]
    assert [second[name] for name in rates] == [""] * 3
    assert json.loads((tmp_path / "bench.json").read_text())["rows"][0]["forward"] == 0.2
    line = next(line for line in text.splitlines() if "phase1" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "phase1",
        "8",
        "4",
        "3.00",
        "2.00",
        "16.0",
        "0.100",
        "0",
        "0.200",
        "0.100",
        "0.0500",
        "0.0500",
        "32.0",
        "–",
    ]
    assert "one epoch of at most 5 steps" in (tmp_path / "bench.md").read_text("utf-8")
