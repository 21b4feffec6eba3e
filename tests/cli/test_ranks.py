"""Processes that others start as one training: they agree on a folder, whatever its name, or say what is missing."""

import json

import pytest

SMALL = [
    *("debug=smoke", "experiment=demo", "+backbone.width_divisor=16", "metrics.lpips=null", "metrics.ssim=null"),
    *("metrics.ssim_wang=null", "callbacks.panels=null", "schedule.run=[phase1]", "logger=none", "data.train=4"),
    *("data.val=2", "trainer=ddp_cpu"),
]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_started_by_torchrun_they_are_told_to_name_their_folder(in_process, tmp_path, monkeypatch, rank):
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    done = in_process("train", *SMALL, cwd=tmp_path)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "cannot agree on a new folder, named by the time: give `run_dir`, the same to each" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("key", ["run_dir", "hydra.run.dir"])
@pytest.mark.parametrize("name", ['a "b', 'lr=1e-3, "c"', "it's \\", "[x]"])
def test_lightnings_own_processes_train_in_a_folder_of_any_name(lensblend, tmp_path, name, key):
    done = lensblend("train", *SMALL, f"{key}={name}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / name / "status.json").read_text())["phases"]["phase1"]["state"] == "done"
    assert [path.name for path in tmp_path.iterdir()] == [name]
