import warnings

import pytorch_lightning as pl

from lensblend.training.cluster import cluster_plugins, without_srun


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
