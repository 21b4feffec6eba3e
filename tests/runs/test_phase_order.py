"""Which checkpoint stands for a run is written in the run, and copying its files does not change it."""

import json
import os
import shutil
from itertools import permutations

import pytest
import yaml

from lensblend.comparison.runs import find_entries
from lensblend.errors import RequestError
from lensblend.runs.checkpoints import find_checkpoint
from lensblend.runs.phase_order import phases_in_order
from lensblend.runs.status import Status

PHASES = ("fine", "coarse", "final")  # the alphabet says otherwise
CONFIG = {"data": {"_target_": "x.Y"}, "model": {"_target_": "x.Z"}, "schedule": {"run": list(PHASES)}}


def a_run(folder, phases=PHASES, state="done"):
    for name in phases:
        (folder / name).mkdir(parents=True)
        (folder / name / "best.ckpt").write_bytes(name.encode())
    content = {"state": "done", "phases": {name: {"state": state} for name in phases}}
    (folder / "status.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def shuffled(folder, order):
    """Let the phases' files have been written in this order."""
    for second, name in enumerate(order):
        os.utime(folder / name / "best.ckpt", (second, second))


@pytest.mark.parametrize("record", ["status.json", "config.yaml", "a damaged status.json"])
@pytest.mark.parametrize("order", list(permutations(PHASES)))
def test_a_copied_run_stands_for_its_last_phase_whatever_its_files_times_are(tmp_path, order, record):
    run = a_run(tmp_path / "run")
    if record == "config.yaml":
        (run / "status.json").unlink()
    elif record != "status.json":
        (run / "status.json").write_text("{")
    copy = shutil.copytree(run, tmp_path / "copy")
    shuffled(copy, order)
    assert find_checkpoint(copy) == copy / "final" / "best.ckpt"
    if record == "status.json":
        (entry,), _ = find_entries([copy])
        assert entry.checkpoint.resolve() == find_checkpoint(copy)
        assert Status(copy).last_finished() == "final"


def test_an_unfinished_run_stands_for_the_last_phase_that_has_a_checkpoint(tmp_path):
    run = a_run(tmp_path, PHASES[:2])
    (run / "final").mkdir()
    status = Status(run)
    status.update_phase("final", state="running")
    shuffled(run, ("coarse", "fine"))
    assert phases_in_order(run) == list(PHASES)
    assert find_checkpoint(run) == run / "coarse" / "best.ckpt"


def test_a_phase_that_was_trained_again_is_the_last(tmp_path):
    run = a_run(tmp_path)
    Status(run).update_phase("fine", state="done")
    shuffled(run, PHASES)
    assert find_checkpoint(run) == run / "fine" / "best.ckpt"


def test_folders_without_a_word_of_their_order_are_asked_for_by_name(tmp_path):
    run = a_run(tmp_path)
    for name in ("status.json", "config.yaml"):
        (run / name).unlink()
    with pytest.raises(RequestError, match=r"holds the phases coarse, final, fine.*name one of them, such as .*coarse"):
        find_checkpoint(run)
    assert find_checkpoint(run / "final") == run / "final" / "best.ckpt"
    for name in PHASES[1:]:
        shutil.rmtree(run / name)
    assert find_checkpoint(run) == run / "fine" / "best.ckpt"
