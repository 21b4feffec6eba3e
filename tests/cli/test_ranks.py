"""Processes that others start as one training: they agree on a folder, whatever its name, or say what is missing."""

import json
import os
import socket
import subprocess
import sys

import pytest

import onnx_graphs

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
@pytest.mark.parametrize(
    ("key", "name"),
    [("hydra.run.dir", 'a "b'), ("run_dir", 'lr=1e-3, "c"'), ("hydra.run.dir", "it's \\"), ("run_dir", "[x]")],
)
def test_lightnings_own_processes_train_in_a_folder_of_any_name(lensblend, tmp_path, key, name):
    done = lensblend("train", *SMALL, f"{key}={name}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / name / "status.json").read_text())["phases"]["phase1"]["state"] == "done"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_processes_that_start_at_once_compute_their_own_maps_alone(tmp_path):
    """As torchrun and srun start them; each pair's map is computed by one of the two."""
    network = onnx_graphs.brightness(tmp_path / "tiny.onnx", scale=0.9, offset=0.05)
    facts = ["+disparity.mean=0", "+disparity.std=1", "+disparity.activation=none", "+disparity.holds=disparity"]
    cache = tmp_path / "cache"
    arguments = [
        *("train", "experiment=depth", "debug=smoke", "+backbone.width_divisor=16", "trainer=ddp_cpu", "logger=none"),
        *("data.image_size=[64,96]", "data.train=5", "data.val=2", "loader.limit_train=null", "disparity=onnx"),
        *(f"disparity.path={network}", *facts, f"run_dir={tmp_path / 'run'}"),
    ]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "LENSBLEND_CACHE": str(cache), "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "0"}
    shared |= {"LOCAL_WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "lensblend.cli.main", *arguments],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    marks = sorted(path.stem.split("-") for path in cache.glob("guidance/*/*.done"))
    shares = [[split, str(count), str(rank)] for split, count in (("train", 5), ("val", 2)) for rank in range(2)]
    assert [[split, count, rank] for split, count, _, rank, *_ in marks] == shares
    assert len(list(cache.glob("guidance/*/*.npy"))) == 7
    assert "Disparity of the train split" in said[0][0]
    assert "Disparity of the train split" not in said[1][0]
