"""Paths of any name go through a shell and Hydra's grammar, as people type them and as messages print them."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning_fabric.strategies.launchers.subprocess_script import _hydra_subprocess_cmd
from omegaconf import OmegaConf

from hostile_names import NAMES
from lensblend.cli.arguments import ONE_PATH, PATHS, as_meant, given, is_one_run
from lensblend.runs.commands import command, override
from lensblend.runs.places import NAMES as PATH_ARGUMENTS

KEYS = [*ONE_PATH, *PATHS, *(f"data.{name}" for name in PATH_ARGUMENTS)]


def read(argument):
    """Read an override as Hydra and OmegaConf do."""
    parsed = OverridesParser.create().parse_override(argument)
    return OmegaConf.create({"seed": 3, "value": parsed.value()}).value


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_path_is_read_as_it_was_typed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    for typed in (str(tmp_path / name), f"runs/{name}/x", name):
        if "${" in typed and typed != name and not typed.startswith("/"):
            continue  # where nothing of the name exists, it is looked up as anywhere in a configuration
        for key in KEYS:
            (argument,) = as_meant([f"{key}={typed}"])
            expected = None if typed == "null" else {"???": "./???"}.get(typed, typed)
            assert read(argument) == expected, argument
        assert given([argument.replace(key, "run_dir", 1)], "run_dir") == expected


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_lightnings_processes_get_the_folder_of_the_first(name, monkeypatch):
    config = OmegaConf.create({"run": {"dir": f"/runs/{name}".replace("${", "\\${")}})
    monkeypatch.setattr(HydraConfig, "get", lambda: config)
    monkeypatch.setattr("hydra.utils.get_original_cwd", lambda: "/")
    monkeypatch.setattr(sys, "argv", ["train", "seed=1", override("hydra.run.dir", f"/runs/{name}")])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", SimpleNamespace(name="lensblend.cli.train"))
    arguments = list(_hydra_subprocess_cmd(1)[0][3:])
    for _ in range(2):  # read once before Hydra and once by it
        arguments = as_meant(arguments)
        assert given(arguments, "hydra.run.dir") == f"/runs/{name}"
        assert [a for a in arguments if a.startswith("hydra.job")] == ["hydra.job.name=train_ddp_process_1"]


@pytest.mark.parametrize(
    "argument",
    [
        *("checkpoint=[a,b]", "run_dir='a b'", 'run_dir="a"', "init_from=null", "data.exclude=[1,2]", "seed=[x"),
        *("data=a,b", "data.root=${oc.env:HOME}/x", r"run_dir=a\ b"),
    ],
)
def test_what_hydra_reads_as_meant_is_left_alone(argument):
    assert as_meant([argument]) == [argument]


def test_several_values_are_a_multiruns(tmp_path):
    assert as_meant(["data.root=a,b"]) == ['data.root="a,b"']
    assert as_meant(["data.root=a,b", "-m"]) == ["-m", "data.root=a,b"]


@pytest.mark.parametrize(("arguments", "one"), [(["seed=1"], True), (["-m"], False), (["--cfg=job"], False)])
def test_commands_that_run_nothing_are_known(arguments, one):
    assert is_one_run(arguments) == one


def test_every_printed_command_can_be_pasted():
    paths = [*NAMES.values(), *(f"runs/{name}" for name in NAMES.values()), "/a b/c"]
    said = [command("train", override("resume", path)) for path in paths]
    assert all(line.isprintable() for line in said)
    pasted = "\n".join(line.replace("lensblend train", "printf '%s\\0'", 1) for line in said)
    done = subprocess.run(["bash", "-c", pasted], capture_output=True, check=True)
    words = [word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0")[:-1]]
    assert [read(word) for word in words] == [{"???": "./???"}.get(path, path) for path in paths]
