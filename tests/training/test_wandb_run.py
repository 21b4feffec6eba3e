"""W&B offline runs are read back from the files that W&B wrote: LevelDB framing around protocol buffers."""

import json
import struct
from collections import defaultdict

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from lensblend.training.phase_run import PhaseRun
from lensblend.training.wandb_run import PhaseWandbLogger

HEADER, BLOCK = 7, 32768
PHASES = ("phase1", "phase2", "phase3")


def records(path):
    """Yield the records of a .wandb file."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    position, parts = HEADER, []
    while position + 7 <= len(content):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):
            yield Record.FromString(b"".join(parts))
            parts = []


def add(items, content):
    """Add the items of a record to nested dicts."""
    for item in items:
        *path, last = list(item.nested_key) or [item.key]
        node = content
        for key in path:
            node = node.setdefault(key, {})
        node[last] = json.loads(item.value_json)


@pytest.fixture(scope="module")
def runs(trained):
    """What each run's file says, by job type."""
    found = {}
    for path in trained.glob("wandb/offline-run-*/*.wandb"):
        content = {"history": [], "config": {}, "summary": {}, "files": path.parent / "files", "exit": None}
        for record in records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    content["run"] = record.run
                    add(record.run.config.update, content["config"])
                case "config":
                    add(record.config.update, content["config"])
                case "summary":
                    add(record.summary.update, content["summary"])
                case "history":
                    content["history"].append({})
                    add(record.history.item, content["history"][-1])
                case "exit":
                    content["exit"] = record.exit.exit_code
        assert content["run"].job_type not in found
        found[content["run"].job_type] = content
    return found


def test_each_phase_is_one_run_of_the_trainings_group(runs, trained):
    assert set(runs) == set(PHASES)
    assert {r["run"].run_group for r in runs.values()} == {f"demo: {trained.parent.name}/{trained.name}"}
    assert len({r["run"].run_id for r in runs.values()}) == 3
    for phase in PHASES:
        assert runs[phase]["run"].run_id == (trained / phase / "wandb_id").read_text().strip()
        assert runs[phase]["exit"] == 0


def test_tags_name_what_was_combined(runs):
    for run in runs.values():
        assert {"gaussian_25_45_75", "hourglass", "dbsi_three_phase"} <= set(run["run"].tags)


def test_the_whole_configuration_is_logged(runs):
    config = runs["phase2"]["config"]
    assert config["kernels"]["sizes"] == [25, 45, 75]
    assert config["schedule"]["phases"]["phase2"]["lr"] == pytest.approx(5e-4)


def test_learning_rate_losses_and_scores_are_logged(runs):
    merged = defaultdict(dict)
    for phase in PHASES:
        for row in runs[phase]["history"]:
            merged[phase].update(row)
    for phase, loss in zip(PHASES, ("l1", "l1", "negative_ssim"), strict=True):
        assert {"lr", "train/loss", f"train/{loss}", "val/psnr", "val/ssim", "val/ssim_wang"} <= set(merged[phase])
    assert merged["phase3"]["train/negative_ssim"] < 0


def test_pictures_of_the_same_pairs_are_logged_in_every_phase(runs):
    captions = []
    for phase in PHASES:
        panels = [row["panels"] for row in runs[phase]["history"] if "panels" in row]
        assert len(panels) == 1
        captions.append(panels[0]["captions"])
        stored = list((runs[phase]["files"] / "media" / "images").rglob("panels*.png"))
        assert len(stored) == panels[0]["count"] == 2
    assert captions[0] == captions[1] == captions[2]


def test_a_final_table_holds_pictures_and_scores(runs):
    for phase in PHASES:
        (file,) = (runs[phase]["files"] / "media" / "table").rglob("final*.table.json")
        table = json.loads(file.read_text())
        assert table["columns"][:4] == ["id", "photo", "target", "bokeh"]
        assert {"psnr", "ssim"} <= set(table["columns"])
        assert [c for c in table["columns"] if c.startswith("W")] == [
            "W0 · photo", "W1 · gaussian 25", "W2 · gaussian 45", "W3 · gaussian 75"
        ]  # fmt: skip
        assert len(table["data"]) == 2


@pytest.mark.parametrize(("exit_code", "preempted"), [(143, True), (1, False)])
def test_a_run_that_a_signal_stopped_is_closed_as_such_and_found_again(tmp_path, exit_code, preempted):
    phase_run = PhaseRun(tmp_path, "phase1", "group")
    for _ in range(2):
        PhaseWandbLogger(phase_run).finish(exit_code)
    for path in (files := list(tmp_path.glob("wandb/offline-run-*/*.wandb"))):
        kinds = {record.WhichOneof("record_type"): record for record in records(path)}
        assert kinds["exit"].exit.exit_code == exit_code
        assert ("preempting" in kinds) == preempted
    assert len({path.stem for path in files}) == 1
