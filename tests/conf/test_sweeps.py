"""Every preset in sweeps/ spans one grid, by Hydra's multirun and by W&B's agent, and every point of it composes."""

import itertools
import os
import time
from importlib.util import find_spec
from pathlib import Path

import hydra
import pytest
import wandb.wandb_agent
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lensblend.cli.config import config_folder, register
from lensblend.cli.presets import presets, sweeps_folder
from lensblend.training.phases import Schedule

FILES = sorted(sweeps_folder().glob("*.yaml"))
NAMES = [file.stem for file in FILES]
TINY = ["experiment=demo", "debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null", "callbacks.panels=null"]


def sweep(name):
    return yaml.safe_load((sweeps_folder() / f"{name}.yaml").read_text())


def grid(name):
    """The points of a W&B grid, as W&B's documentation defines it: the product of all values."""
    spans = {key: span.get("values", [span.get("value")]) for key, span in sweep(name)["parameters"].items()}
    return [dict(zip(spans, point, strict=True)) for point in itertools.product(*spans.values())]


def compose(*overrides):
    register()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return hydra.compose("train", overrides=["run_dir=x", *overrides], return_hydra_config=True)


def values(config, keys):
    """What a composed configuration holds under a grid's keys: a group's chosen option, or the value."""
    chosen = config.hydra.runtime.choices
    plain = OmegaConf.to_container(OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), resolve=True)
    config = OmegaConf.create(plain)
    return {key: chosen[key] if key in chosen else OmegaConf.select(config, key) for key in keys}


def hydra_jobs(name, *overrides):
    """The overrides of each job of `lensblend train --multirun +sweep=NAME …`, from Hydra's own sweeper."""
    params = OmegaConf.to_container(compose(f"+sweep={name}", *overrides).hydra.sweeper)["params"]
    arguments = [*(f"{key}={value}" for key, value in params.items()), f"+sweep={name}", *overrides]
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(arguments), None)
    return jobs


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Let W&B's own agent start the command of a grid point, as if its server had sent the point."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep000")

    def start(content, point, run_id):
        worker = wandb.wandb_agent.Agent(api=None, queue=None, sweep_id="sweep000")
        worker._sweep_command = list(content["command"])
        args = {key: {"value": value} for key, value in point.items()}
        worker._command_run({"run_id": run_id, "program": content["program"], "args": args})
        process = worker._run_processes[run_id]
        while (code := process.poll()) is None:
            time.sleep(0.01)
        return code

    yield start
    for variable in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        os.environ.pop(variable, None)


@pytest.fixture
def overrides_of(agent, tmp_path, monkeypatch):
    """What `lensblend` is given by W&B's agent: a program of that name writes down its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "lensblend"
    program.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" > {tmp_path}/arguments\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def written(content, point):
        assert agent(content, point, "run00000") == 0
        return (tmp_path / "arguments").read_text().rstrip("\0").split("\0")

    return written


def test_every_file_is_a_preset_of_both_tools():
    assert (
        set(NAMES)
        == set(presets())
        == {"table1", "table2", "table3", "table4", "aim2019", "kernel_families", "backbones", "learning_rates"}
    )
    assert {point["backbone"] for point in grid("backbones")} == {
        file.stem for file in (config_folder() / "backbone").glob("*.yaml")
    }
    assert [len(point["schedule.run"]) for point in grid("table4")] == [1, 2, 3]
    assert len(grid("learning_rates")) == 6


@pytest.mark.parametrize(("name", "sizes"), [("table2", [[75], [25, 45, 75]]), ("table3", [[5, 25, 45], [25, 45, 75]])])
def test_tables_2_and_3_compare_the_papers_kernels(name, sizes):
    jobs = [compose(*job) for job in hydra_jobs(name)]
    assert [list(job.kernels.sizes) for job in jobs] == sizes
    assert {job.kernels.family for job in jobs} == {"gaussian"}


# The demo's phases are DBSI's; the grid of all teams has a small form of its own.
@pytest.mark.parametrize("extra", [(), ("SMALL",), ("experiment=dbsi", "data=ebb", "data.root=x")])
@pytest.mark.parametrize("name", NAMES)
def test_multirun_has_exactly_the_jobs_of_the_grid(name, extra):
    small = "experiment=aim2019" if name == "aim2019" else "experiment=demo"
    jobs = hydra_jobs(name, *(small if override == "SMALL" else override for override in extra))
    assert [values(compose(*job), point) for job, point in zip(jobs, grid(name), strict=True)] == grid(name)


@pytest.mark.parametrize("name", NAMES)
def test_wandbs_agent_starts_exactly_the_points_of_the_grid(name, overrides_of):
    for point in grid(name):
        verb, *overrides = overrides_of(sweep(name), point)
        assert verb == "train"
        config = compose(*overrides)
        assert values(config, point) == point
        assert config.logger.wandb._target_.endswith("PhaseWandbLogger")
        plain = OmegaConf.to_container(config.schedule, resolve=True)
        # The saliency baseline has nothing to train; it is scored at the last phase's size.
        three = ["phase1", "phase2", "phase3"]
        usual = {"scrn": ["phase3"], "dbsi": three, None: three}.get(point.get("baseline"), plain["run"])
        assert Schedule.from_config(plain).run == (point.get("schedule.run") or usual)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_leaves_data_experiment_launcher_and_folder_to_the_user(name):
    assert not {"data", "experiment", "run_dir", "hydra/launcher"} & set(sweep(name)["parameters"])
    assert "hydra" not in (sweeps_folder() / f"{name}.yaml").read_text()
    assert compose(f"+sweep={name}").hydra.runtime.choices["hydra/sweeper"] == "basic"


@pytest.mark.parametrize("name", NAMES)
def test_values_are_of_the_kinds_that_wandbs_command_lines_carry(name):
    def check(value):
        assert isinstance(value, (bool, int, float, str, list)), value
        assert "=" not in str(value)
        assert not isinstance(value, float) or float(str(value)) == value
        for item in value if isinstance(value, list) else ():
            check(item)

    for point in grid(name):
        for value in point.values():
            check(value)


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_a_file_says_what_it_compares_its_command_and_its_cost(file):
    lines = file.read_text().splitlines()
    head = [line for line in lines if line.startswith("#")]
    assert lines[: len(head)] == head
    assert any(word in head[0] for word in ("section", "Table", "Not in the paper"))
    assert f"--multirun +sweep={file.stem}" in head[1]
    assert f"wandb sweep sweeps/{file.stem}.yaml" in head[2]
    assert head[3].startswith("# Cost: ")
    assert yaml.safe_load(file.read_text())["name"] == file.stem


def test_what_the_command_line_says_wins_over_a_preset():
    jobs = hydra_jobs("table3", "kernels=disk_variance")
    assert [compose(*job).hydra.runtime.choices.kernels for job in jobs] == ["disk_variance"]


def test_a_preset_without_multirun_is_refused_rather_than_trained_once(in_process, tmp_path):
    done = in_process("train", "+sweep=table3", "debug=smoke", cwd=tmp_path)
    assert done.code == 2
    assert "`+sweep=table3` is several trainings: add --multirun" in done.err
    assert "`kernels`" in done.err


def test_a_search_without_optuna_says_how_to_get_it_and_with_it_composes(in_process, tmp_path):
    if find_spec("hydra_plugins.hydra_optuna_sweeper"):
        sweeper = compose("hparams_search=optuna").hydra.sweeper
        assert (sweeper.study_name, sweeper.direction) == ("lensblend", "maximize")
    else:
        done = in_process("train", "--multirun", "hparams_search=optuna", cwd=tmp_path)
        assert done.code == 2
        assert "pip install 'lensblend[optuna]'" in done.err


@pytest.mark.slow
def test_a_multirun_trains_every_job_of_a_preset(lensblend, tmp_path):
    sizes = "kernels.scale=0.1"
    done = lensblend(
        "train", "--multirun", "+sweep=table2", *TINY, "schedule.run=[phase1]", sizes, "hydra.sweep.dir=jobs",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    kept = [yaml.safe_load((tmp_path / "jobs" / job / "config.yaml").read_text()) for job in "01"]
    assert [content["kernels"]["sizes"] for content in kept] == [[75], [25, 45, 75]]
    assert all((tmp_path / "jobs" / job / "phase1" / "best.ckpt").is_file() for job in "01")


@pytest.mark.slow
def test_wandbs_agent_trains_a_point(agent, tmp_path, monkeypatch):
    """Everything but W&B's server, which needs an account, is W&B's own."""
    monkeypatch.setenv("PATH", f"{Path(os.sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    content = sweep("table4")
    *command, macro = content["command"]
    content["command"] = [*command, *TINY, "run_dir=point", macro]
    assert agent(content, grid("table4")[1], "run00001") == 0
    assert sorted(p.parent.name for p in (tmp_path / "point").glob("*/best.ckpt")) == ["phase1", "phase2"]
