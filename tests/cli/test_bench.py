"""``lensblend bench`` as a user calls it."""

import csv
import json
import shutil

import numpy as np
import pytest

from lensblend.cli import bench
from lensblend.cli.recipes import baselines
from lensblend.errors import DataError

FILES = ["bench.csv", "bench.json", "bench.md", "chart.png"]
SMALL = ("experiment=demo", "debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "schedule.run=[phase1]")


def rows_in(folder):
    with (folder / "bench.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def here(monkeypatch):
    """Measure in this process, which has imported what it takes, on what it takes no time to measure; the cases."""
    cases = []

    def measured(function, case):
        cases.append(case)
        if case.precision == "fp16":
            raise DataError("`precision` fp16 is for GPUs; on the CPU use bf16.")
        return function(case)

    monkeypatch.setattr("lensblend.benching.processes.in_own_process", measured)
    return cases


@pytest.mark.slow
def test_a_model_is_measured_in_a_process_of_its_own_and_the_page_says_how(lensblend, tiny_model, tmp_path):
    done = lensblend("bench", tiny_model, "--device", "cpu", "--rounds", "2", "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == FILES
    (row,) = rows_in(tmp_path / "out")
    assert (row["system"], row["height"], row["width"], row["ratio"]) == (str(tiny_model), "32", "48", "1.0")
    assert float(row["seconds"]) > 0
    assert f"lensblend bench {tiny_model} --device cpu" in (tmp_path / "out" / "bench.md").read_text("utf-8")
    assert "| system" in done.out
    assert "Traceback" not in done.err
    assert "100%" in done.err


def test_every_combination_is_a_row_and_what_fails_one_with_its_reason(in_process, here, tiny_model, tmp_path):
    flags = ("--device", "cpu", "--precision", "fp16", "fp32", "fp32", "--image-size", "32x48", "48x64", "--batch", "1")
    done = in_process(
        *("bench", tiny_model, *flags, "2", "--engine", "torch", "--rounds", "1", "--output", tmp_path / "out")
    )
    assert done.code == 0, done.err
    assert len(here) == 8
    rows = rows_in(tmp_path / "out")
    assert [(row["height"], row["precision"], row["batch"]) for row in rows] == [
        (height, precision, batch) for height in ("32", "48") for precision in ("fp16", "fp32") for batch in "12"
    ]
    assert ["fp16 is for GPUs" in row["reason"] for row in rows] == [True, True, False, False] * 2
    assert all(bool(row["reason"]) != bool(row["seconds"]) for row in rows)
    assert done.err.count("fp16 is for GPUs") == 4


def test_baselines_are_composed_and_stand_after_models(in_process, here, tiny_model, tmp_path):
    size = ("--image-size", "32x48", "--rounds", "1", "--device", "cpu", "--output", tmp_path)
    done = in_process("bench", tiny_model, "--baseline", "scrn", "scrn", *size)
    assert done.code == 0, done.err
    assert [(row["system"], row["parameters"]) for row in rows_in(tmp_path)][1] == ("scrn", "0")
    assert len(here) == 2


def test_all_is_every_baseline_and_without_any_name_it_is_the_model_in_the_box(monkeypatch):
    monkeypatch.setattr("lensblend.cli.recipes.recipe", lambda name: {"model": {"is": name}})
    systems = bench._systems(bench.parser().parse_args(["--all"]))
    assert [system.name for system in systems] == baselines()
    assert systems[0].node == {"is": baselines()[0]}
    (system,) = bench._systems(bench.parser().parse_args([]))
    assert system.model == "default"


def test_defaults_leave_sizes_to_the_systems(monkeypatch):
    arguments = bench.parser().parse_args([])
    (case,) = bench._cases(arguments, bench._systems(arguments))
    assert (case.image_size, case.device, case.engine, case.precision) == (None, "auto", "torch", "fp32")
    assert (case.batch, case.rounds) == (1, 5)


def test_where_nothing_could_be_measured_the_work_has_failed(in_process, here, tiny_model, tmp_path):
    done = in_process("bench", tiny_model, "--precision", "fp16", "--output", tmp_path)
    assert done.code == 1
    assert "None of the 1 rows could be measured: `precision` fp16 is for GPUs" in done.err
    assert rows_in(tmp_path)[0]["reason"].startswith("`precision` fp16")


def test_scores_move_the_chart_and_are_looked_at_before_the_work(in_process, here, tiny_model, tmp_path, picture):
    table = tmp_path / "compare.csv"
    table.write_text(f"run,folder,metric,mean\nours,{tiny_model.parent},psnr,30.5\n", "utf-8")
    flags = (tiny_model, "--device", "cpu", "--rounds", "1")
    for name, scores in (("with", ("--scores", table)), ("without", ())):
        done = in_process("bench", *flags, *scores, "--output", tmp_path / name)
        assert done.code == 0, done.err
    charts = [picture(tmp_path / name / "chart.png") for name in ("with", "without")]
    assert np.any(charts[0][:, :40] != charts[1][:, :40])
    here.clear()
    table.write_text("run,folder,metric,mean\nother,,psnr,30.5\n", "utf-8")
    done = in_process("bench", *flags, "--scores", table, "--output", tmp_path / "none")
    assert done.code == 2
    assert f"`--scores` {table} knows other, but none of {tiny_model}" in done.err
    assert not here


def test_a_new_folder_is_made_each_time(in_process, here, tiny_model, tmp_path):
    for _ in range(2):
        done = in_process("bench", tiny_model, "--device", "cpu", "--rounds", "1", cwd=tmp_path)
        assert done.code == 0, done.err
    assert len(list((tmp_path / "outputs" / "bench").glob("*/*/bench.json"))) == 2


@pytest.mark.slow
def test_a_training_is_split_into_its_parts_and_nothing_of_it_is_kept(lensblend, tmp_path):
    shutil.rmtree(tmp_path / "tmp", ignore_errors=True)
    (tmp_path / "tmp").mkdir()
    done = lensblend(
        *("bench", "training", *SMALL, "--rounds", "1", "--output", tmp_path / "out"), env={"TMPDIR": tmp_path / "tmp"}
    )
    assert done.code == 0, done.err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == FILES[:3]
    (row,) = json.loads((tmp_path / "out" / "bench.json").read_text())["rows"]
    assert (row["phase"], row["steps"], row["batch"]) == ("phase1", 1, 2)
    assert all(row[part] > 0 for part in ("data", "forward", "backward", "optimizer", "validation", "loader"))
    assert "phase1 · epoch 1/1" in done.err
    assert "phase1 · epoch 1/1" not in done.out
    assert not list((tmp_path / "tmp").glob("lensblend-*"))


def test_a_training_that_is_refused_ends_the_verb_as_it_ended(lensblend, tmp_path):
    done = lensblend("bench", "training", "kernels=gausian_75", "--output", tmp_path / "out")
    assert done.code == 2
    assert "did you mean `kernels=gaussian_75`" in done.err
    assert "Nothing was measured: the training ended with exit code 2; see above." in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "given"),
    [
        ("baseline", ["dbsi"]), ("all", []), ("device", ["cpu"]), ("engine", ["torch"]), ("precision", ["fp32"]),
        ("image-size", ["32x48"]), ("batch", ["2"]), ("scores", ["compare.csv"]),
    ],
)  # fmt: skip
def test_flags_of_networks_are_refused_beside_a_training(in_process, tmp_path, flag, given):
    done = in_process("bench", "training", "experiment=demo", f"--{flag}", *given, cwd=tmp_path)
    assert done.code == 2
    assert f"`--{flag}` would have no effect on `bench training`" in done.err
