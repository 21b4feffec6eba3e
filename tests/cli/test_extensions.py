"""A project of the user's own through every verb: installed, or let in by a flag; and not without the user's word."""

import shutil
from importlib import metadata
from pathlib import Path

import pytest

from lensblend.runs import extensions

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = CHECKOUT / "examples" / "own-project"
LIGHTS = ["experiment=lights", "debug=smoke", "metrics.lpips=null", "schedule.run=[coarse]", "callbacks.panels=null"]
DOOR = "If own_project is your own code, say so: --allow own_project (docs/extending.md)"


@pytest.fixture(autouse=True)
def reachable(monkeypatch):
    """Let Python find the example's package, which opens no door yet."""
    monkeypatch.setenv("PYTHONPATH", f"{CHECKOUT / 'src'}:{EXAMPLE}")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setenv(extensions.VARIABLE, "")


@pytest.fixture
def installed(monkeypatch):
    """The entry point that `pip install` notes."""
    points = metadata.EntryPoints([metadata.EntryPoint("own_project", "own_project", extensions.GROUP)])
    monkeypatch.setattr(extensions, "entry_points", lambda group: points.select(group=group))
    extensions._installed.cache_clear()
    yield
    extensions._installed.cache_clear()


@pytest.fixture(scope="module")
def run_dir(lensblend, tmp_path_factory):
    """A training of the example, its package let in by the flag."""
    folder = tmp_path_factory.mktemp("own") / "lights"
    done = lensblend(
        "train", "--allow", "own_project", *LIGHTS, f"run_dir={folder}",
        env={"PYTHONPATH": f"{CHECKOUT / 'src'}:{EXAMPLE}"},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "val/mae" in (folder / "metrics.csv").read_text(encoding="utf-8")
    return folder


def requests(run_dir, tmp_path):
    """Return a command of every verb that needs the network, by verb."""
    photo = next((CHECKOUT / "docs" / "images").glob("embedded.png"))
    return {
        "evaluate": [
            f"checkpoint={run_dir}",
            f"output={tmp_path / 'scores'}",
            "metrics=with_mae",
            "metrics.lpips=null",
        ],
        "render": [photo, "--model", run_dir, "--output", tmp_path / "rendered", "--weights"],
        "compare": [run_dir, "--output", tmp_path / "compared", "--limit", "2", "--gallery-limit", "0"],
    }


def check_outputs(tmp_path):
    assert "mae" in (tmp_path / "scores" / "metrics.json").read_text(encoding="utf-8")
    assert (tmp_path / "rendered" / "embedded-W2-box9.png").is_file()
    assert (tmp_path / "compared" / "compare.csv").is_file()


def test_every_verb_takes_the_flag(in_process, run_dir, tmp_path):
    for verb, arguments in requests(run_dir, tmp_path).items():
        done = in_process(verb, *arguments, "--allow", "own_project")
        assert done.code == 0, done.err
    check_outputs(tmp_path)


def test_an_installed_project_needs_no_flag(in_process, run_dir, tmp_path, installed):
    for verb, arguments in requests(run_dir, tmp_path).items():
        done = in_process(verb, *arguments)
        assert done.code == 0, done.err
    check_outputs(tmp_path)


def test_without_either_every_verb_names_the_door(in_process, run_dir, tmp_path):
    for verb, arguments in requests(run_dir, tmp_path).items():
        done = in_process(verb, *[a for a in arguments if a != "metrics=with_mae"])
        assert done.code in (1, 2)
        assert DOOR in " ".join((done.err + done.out).split())


def test_a_run_goes_on_by_the_users_word_alone(in_process, run_dir, tmp_path):
    folder = shutil.copytree(run_dir, tmp_path / "lights")
    shutil.rmtree(folder / "coarse")
    (folder / "status.json").unlink()
    refused = in_process("train", f"resume={folder}")
    assert (refused.code, DOOR in refused.err) == (2, True)
    done = in_process("train", "--allow=own_project", f"resume={folder}")
    assert done.code == 0, done.err
    assert (folder / "coarse" / "best.ckpt").is_file()


@pytest.mark.slow
def test_jobs_of_a_sweep_and_their_processes_inherit_the_users_word(lensblend, tmp_path):
    sweep = ["--multirun", "trainer=ddp_cpu", "seed=1,2", f"hydra.sweep.dir={tmp_path}"]
    done = lensblend("train", "--allow", "own_project", *sweep, *LIGHTS, cwd=tmp_path)
    assert done.code == 0, done.err
    assert len(list(tmp_path.glob("*/coarse/best.ckpt"))) == 2


def test_help_and_verbs_know_the_project(lensblend):
    word = {extensions.VARIABLE: "own_project"}
    assert "draw" in lensblend("--help", env=word).out
    assert "receives the photos" in lensblend("draw", "--help", env=word).out
    assert "did you mean `train`" in lensblend("trian", env=word).err
    assert "tiny_blend" in lensblend("train", "--help", env=word).out


@pytest.mark.parametrize("verb", ["train", "evaluate", "render", "compare", "export", "bench", "demo"])
def test_every_verbs_help_shows_the_flag_and_hydras_how_to_bring_a_folder_of_configurations(in_process, verb):
    said = in_process(verb, "--help").out
    assert "--allow PACKAGE" in said
    assert verb not in ("train", "evaluate") or "--config-dir DIR" in said


def test_a_folder_of_configurations_brings_options_and_experiments(in_process, tmp_path):
    for file, text in {
        "kernels/mine.yaml": "defaults: [gaussian_25_45_75, _self_]\nsizes: [9, 13]\n",
        "experiment/mine.yaml": "# @package _global_\ndefaults: [{override /kernels: mine}]\nname: mine\n",
    }.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    done = in_process("train", "--config-dir", tmp_path, "experiment=mine", "--cfg", "job")
    assert done.code == 0, done.err
    assert "sizes:\n  - 9\n  - 13" in done.out
    assert "name: mine" in done.out


def test_a_wrong_package_is_refused_by_every_verb(in_process, run_dir, tmp_path):
    for verb, arguments in requests(run_dir, tmp_path).items():
        done = in_process(verb, *arguments, "--allow", "no_such_package_of_anyone")
        assert (done.code, "there is no package no_such" in done.err) == (2, True)
