"""docs/adding.md, done: its files written into a copy of the project, its commands run there."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PLACE = re.compile(r"# (?P<file>[\w/.]+)(?:, in (?P<dict>\w+)|(?P<end>, at its end))?\n")
SMALL = "debug=smoke trainer=cpu"


def blocks():
    return BLOCK.findall((CHECKOUT / "docs" / "adding.md").read_text())


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with what every recipe adds."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("src", "conf", "sweeps"):
        shutil.copytree(CHECKOUT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for kind, text in blocks():
        if kind == "bash":
            continue
        place = PLACE.match(text)
        assert place, f"a block of docs/adding.md does not say where it belongs:\n{text}"
        file, content = root / place["file"], text[place.end() :]
        if place["dict"]:
            before = file.read_text()
            after = re.sub(rf"(?m)^({place['dict']}\b[^=\n]*= {{)", rf"\1\n{content}", before, count=1)
            assert after != before, f"{place['file']} has no dict {place['dict']}"
            file.write_text(after)
        elif place["end"]:
            file.write_text(f"{file.read_text()}\n\n{content}")
        else:
            assert not file.exists(), f"{place['file']} is there already"
            file.write_text(content)
    return root


@pytest.fixture(scope="module")
def run(project):
    """Run a command of the page, with what makes it small."""

    def run(said, *more, **names):
        (command,) = (text.strip() for kind, text in blocks() if kind == "bash" and text.startswith(said))
        for name, value in names.items():
            command = command.replace(name, str(value))
        verb = [sys.executable, "-m", "lensblend.cli.main", *shlex.split(command)[1:], *more]
        environment = {**os.environ, "PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(verb, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def trained(project, run):
    """One training with a toy of nearly every recipe, and what it said."""
    said = run("lensblend train model=soft_focus kernels=rings", *SMALL.split(), "run_dir=toys")
    return project / "toys", said


@pytest.mark.slow
def test_a_training_is_made_of_the_toys(trained):
    run_dir, said = trained
    assert "Data: 8 training and 4 validation pairs" in said
    assert said.count("Counted epoch 1.") == 2
    assert "huber" in said
    for phase in ("warm_up", "polish"):
        assert (run_dir / phase / "headline.txt").read_text() == f"{phase} ended with 0\n"
    status = yaml.safe_load((run_dir / "status.json").read_text())
    assert list(status["phases"]["polish"]["best"]) == ["val/worst"]
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["kernels"]["family"] == "ring"
    state = torch.load(run_dir / "polish" / "best.ckpt", weights_only=True)["state_dict"]
    assert state["head.weight"].shape == (3, 3, 3, 3)


@pytest.mark.slow
def test_a_learning_rate_takes_the_new_path(project, run):
    more = (*SMALL.split(), "run_dir=late", "logger=csv", "schedule.run=[warm_up]", "schedule.every_phase.lr_path=late")
    run("lensblend train model=soft_focus kernels=rings", *more)
    with (project / "late" / "metrics.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file) if row["lr"]]
    assert rates == pytest.approx([1e-3, 1e-4])


@pytest.mark.slow
def test_a_prior_is_trained_and_used(project, run):
    run("lensblend train experiment=bright_things", *SMALL.split(), "run_dir=prior")
    guided = "run_dir=guided model=saliency_blend kernels=gaussian_75 saliency=bright_things saliency.weights=prior"
    more = (*SMALL.split(), *guided.split())
    run("lensblend train model=soft_focus kernels=rings", *more, "schedule.run=[warm_up]")
    assert (project / "guided" / "warm_up" / "best.ckpt").is_file()


@pytest.mark.slow
def test_a_launcher_runs_the_jobs_of_a_sweep(run):
    said = run("lensblend train --multirun", *SMALL.split(), "data=slopes", "schedule=two_steps", "logger=none")
    assert re.findall(r"Job \d is \w+\.", said) == ["Job 0 is done.", "Job 1 is done."]


@pytest.mark.slow
def test_a_verb_is_listed_and_runs(trained, run, project):
    assert run("lensblend phases", RUN=trained[0]).splitlines() == [
        "warm_up: done after step 2",
        "polish: done after step 2",
    ]


def test_every_recipe_is_one_of_the_page():
    headings = re.findall(r"(?m)^## An? (.*)$", (CHECKOUT / "docs" / "adding.md").read_text())
    assert headings == [
        "kernel set", "family of kernels", "schedule", "learning-rate path", "network", "prior network", "backbone",
        "loss", "metric", "data set", "logger", "callback", "launcher", "verb",
    ]  # fmt: skip
