"""Whose folders a comparison writes into."""

import os

import pytest

from lensblend.comparison.places import places
from lensblend.comparison.runs import Entry

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run" / "compare" / "phase1").mkdir(parents=True)
    return tmp_path / "run"


def in_cache(run, cache):
    before, *_, now = places(Entry(run, "phase1", {}))
    assert before == run / "compare" / "phase1"
    return now.is_relative_to(cache / "compare") and now.name == "phase1"


def test_scores_stay_in_ones_own_run(run):
    assert places(Entry(run, "phase1", {})) == [run / "compare" / "phase1"]
    assert places(Entry(run, "phase2", {})) == [run / "compare" / "phase2"]


@pytest.mark.parametrize("part", ["", "compare", "compare/phase1"])
def test_a_read_only_run_is_left_as_it_is(run, cache, part):
    (run / part).chmod(0o555)
    assert in_cache(run, cache)


@root_only
@pytest.mark.parametrize("part", ["", "compare", "compare/phase1"])
def test_a_run_of_somebody_else_is_left_as_it_is_although_all_may_write_there(run, cache, part):
    (run / part).chmod(0o777)
    os.chown(run / part, 12345, 12345)
    assert in_cache(run, cache)
    os.chown(run / part, 0, 0)


def test_runs_of_one_name_are_kept_apart(run, tmp_path):
    other = tmp_path / "elsewhere" / "run"
    other.mkdir(parents=True)
    run.chmod(0o555)
    other.chmod(0o555)
    assert len({places(Entry(folder, phase, {}))[-1] for folder in (run, other) for phase in ("a", "b")}) == 4
