import multiprocessing
import warnings

import pytest
import pytorch_lightning as pl
import torch

from lensblend.errors import RequestError, TrainingError
from lensblend.launchers.devices import PLACE
from lensblend.training.cluster import check_machines, check_shared, cluster_plugins, without_srun

# What srun and sbatch of SLURM 22.05 tell a process.
SLURM = ("SLURM_NTASKS", "SLURM_TASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_ID", "SLURM_JOB_NAME")


def test_a_machine_that_has_slurm_trains_without_it_and_without_a_word(tmp_path, monkeypatch):
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with without_srun():
            assert cluster_plugins() == []
            pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)


def test_a_task_of_srun_leaves_requeueing_to_the_batch_script(monkeypatch):
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "lensblend"}.items():
        monkeypatch.setenv(name, value)
    (plugin,) = cluster_plugins()
    assert plugin.auto_requeue is False


def _surroundings(monkeypatch, values):
    for name in (*PLACE, *SLURM):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("slurm", "devices", "nodes"),
    [
        ({"SLURM_NTASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_ID": "0"}, 2, 2),
        # A step of fewer tasks than its job.
        (
            {
                "SLURM_NTASKS": "2",
                "SLURM_TASKS_PER_NODE": "4(x3)",
                "SLURM_STEP_TASKS_PER_NODE": "2",
                "SLURM_STEP_ID": "3",
            },
            2,
            None,
        ),
        ({"SLURM_NTASKS": "1", "SLURM_TASKS_PER_NODE": "1"}, 1, None),
        ({"SLURM_NTASKS": "1"}, 1, 1),
        # What a person starts in a shell on the cluster is no task of it.
        ({"SLURM_NTASKS": "4", "SLURM_TASKS_PER_NODE": "4", "SLURM_JOB_NAME": "interactive"}, 1, None),
    ],
)
def test_tasks_that_are_the_trainings_processes_are_taken(slurm, devices, nodes, monkeypatch):
    _surroundings(monkeypatch, slurm)
    check_machines({"accelerator": "cpu", "devices": devices, "num_nodes": nodes})


@pytest.mark.parametrize(
    ("slurm", "devices", "nodes", "said"),
    [
        (
            {"SLURM_NTASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_ID": "0"},
            1,
            2,
            "SLURM has 4 tasks on 2 nodes for this job, but `trainer.devices` and `trainer.num_nodes` train in 2 tasks "
            "on 2 nodes: ask it for --nodes=2 --ntasks-per-node=1, or set trainer.devices=2 trainer.num_nodes=2",
        ),
        # As many, but elsewhere.
        (
            {"SLURM_NTASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "3,1", "SLURM_STEP_ID": "0"},
            2,
            2,
            r"ask it for --nodes=2 --ntasks-per-node=2\.",
        ),
        (
            {"SLURM_NTASKS": "7", "SLURM_STEP_TASKS_PER_NODE": "2(x3),1", "SLURM_STEP_ID": "0"},
            7,
            None,
            "7 tasks on 4 nodes .* train in 7 tasks on 1 node:",
        ),
        ({"SLURM_NTASKS": "2"}, 1, None, "SLURM has 2 tasks on 1 node .* train in 1 task on 1 node"),
        ({"SLURM_NTASKS": "1", "SLURM_TASKS_PER_NODE": "1"}, 2, None, "ask it for --nodes=1 --ntasks-per-node=2"),
        ({"SLURM_NTASKS": "4", "SLURM_TASKS_PER_NODE": "2(x2)"}, 2, 2, "put srun before the command"),
    ],
)
def test_other_tasks_than_the_trainings_processes_are_refused(slurm, devices, nodes, said, monkeypatch):
    _surroundings(monkeypatch, slurm)
    with pytest.raises(RequestError, match=said):
        check_machines({"accelerator": "cpu", "devices": devices, "num_nodes": nodes})


def test_several_machines_without_slurm_start_as_many_processes_each(monkeypatch):
    _surroundings(monkeypatch, {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1"})
    check_machines({"accelerator": "gpu", "devices": 4, "num_nodes": 2})
    check_machines({"accelerator": "gpu", "devices": -1})
    with pytest.raises(
        RequestError, match=r"`trainer.devices=-1` is every GPU of this machine.* give trainer.devices=N"
    ):
        check_machines({"accelerator": "gpu", "devices": -1, "num_nodes": 2})
    monkeypatch.delenv("NODE_RANK")
    with pytest.raises(RequestError, match="machines that nothing names"):
        check_machines({"accelerator": "gpu", "devices": 4, "num_nodes": 2})


def _join(rank, folder, store, said):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        check_shared(folder, patience=0.3)
        said.put((rank, ""))
    except TrainingError as error:
        said.put((rank, str(error)))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_that_not_all_machines_see_is_refused_by_all(shared, tmp_path):
    # What each machine finds under the folder's path.
    folders = [tmp_path / "first", tmp_path / ("first" if shared else "second")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    forked = multiprocessing.get_context("fork")
    said = forked.SimpleQueue()
    started = [forked.Process(target=_join, args=(i, folders[i], tmp_path / "store", said)) for i in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0]
    answers = dict(said.get() for _ in started)
    for text in answers.values():
        assert text == "" if shared else "on a file system that all machines share" in text
    assert not [*folders[0].iterdir(), *folders[1].iterdir()]
