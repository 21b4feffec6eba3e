from pathlib import Path

import pytest

from lensblend.comparison.labels import differences, label_entries
from lensblend.comparison.runs import Entry

TAGS = ("gaussian_75", "hourglass", "depth_blend", "dbsi_three_phase", "embedded", "demo")


def entry(folder, config=None, kernels="gaussian_75", phase="phase3", tags=TAGS):
    sizes = {"gaussian_75": [75], "gaussian_25_45_75": [25, 45, 75]}[kernels]
    bank = {"family": "gaussian", "sizes": sizes}
    base = {"kernels": bank, "model": {"bank": bank}, "seed": 0, "run_dir": folder}
    return Entry(Path(folder), phase, {**base, **(config or {})}, (kernels, *tags[1:]) if tags else ())


def test_the_chosen_option_is_the_name():
    runs = [entry("sweep/0"), entry("sweep/1", kernels="gaussian_25_45_75")]
    assert label_entries(runs) == ["gaussian_75", "gaussian_25_45_75"]


def test_values_are_named_where_no_option_differs():
    runs = [entry("sweep/0", {"seed": 1}), entry("sweep/1", {"seed": 2})]
    assert label_entries(runs) == ["seed=1", "seed=2"]


def test_options_and_values_stand_side_by_side():
    runs = [entry("a"), entry("b", kernels="gaussian_25_45_75"), entry("c", {"seed": 5})]
    assert label_entries(runs) == ["gaussian_75 · seed=0", "gaussian_25_45_75 · seed=0", "gaussian_75 · seed=5"]


def test_a_value_below_an_option_is_named_where_the_option_does_not_tell_runs_apart():
    wide = {"kernels": {"family": "gaussian", "sizes": [75], "scale": 2.0}}
    labels = label_entries([entry("a"), entry("b", wide), entry("c", kernels="gaussian_25_45_75")])
    assert len(set(labels)) == 3
    assert "scale=2" in labels[1]


def test_without_tags_the_values_speak():
    runs = [entry("a", tags=()), entry("b", kernels="gaussian_25_45_75", tags=())]
    assert label_entries(runs) == ["sizes=75", "sizes=25,45,75"]


def test_equal_configurations_are_told_apart_by_their_folders():
    assert label_entries([entry("first/run"), entry("second/run")]) == ["first/run", "second/run"]


def test_only_equal_configurations_get_their_folder_beside_their_name():
    runs = [entry("x/a"), entry("x/b"), entry("x/c", kernels="gaussian_25_45_75")]
    assert label_entries(runs) == ["gaussian_75 · a", "gaussian_75 · b", "gaussian_25_45_75"]


def test_one_run_has_its_folders_name_and_its_phases_their_own():
    assert label_entries([entry("outputs/dbsi")]) == ["dbsi"]
    assert label_entries([entry("outputs/dbsi", phase=p) for p in ("phase1", "phase2")]) == ["phase1", "phase2"]


def test_phases_of_several_runs_are_named_with_their_run():
    runs = [entry("a"), entry("b", {"seed": 1}, phase="phase1")]
    assert label_entries(runs) == ["seed=0 · phase3", "seed=1 · phase1"]


def test_many_differences_give_way_to_the_folder():
    many = [{f"key_{i}": {"a_rather_long_name": i + run} for i in range(9)} for run in (0, 100)]
    assert label_entries([entry("x/0", many[0]), entry("x/1", many[1])]) == ["0", "1"]


@pytest.mark.parametrize("free", ["run_dir", "logger", "resume_overrides"])
def test_where_and_how_fast_is_no_difference(free):
    assert differences([{free: "a", "seed": 0}, {free: "b", "seed": 0}]) == {}


def test_a_missing_key_is_a_difference():
    assert differences([{"seed": 0}, {"seed": 0, "width": 4}]) == {"width": [None, 4]}
