"""Every team's own recipe through the real command line: full-width networks and losses, small crops, few steps."""

import json

import pytest
import torch

from lensblend.runs.checkpoint_files import read_checkpoint

TEAMS = ["islab_zju", "ipcv_iitm", "vidar", "xmu_viplab", "kaist_viclab", "slyym", "bazinga", "aps_vision"]
# The recipe's phases, losses, optimizers and batches; a few pairs of the embedded data, and crops of what remains.
FEW = [
    "experiment=aim2019",
    "data.train=4",
    "data.val=2",
    "schedule.every_phase.image_size=[64,64]",
    "schedule.every_phase.crop=[48,48]",
    "schedule.every_phase.batch_size=2",
    "loader.limit_train=4",
    "metrics.lpips=null",
    "callbacks.panels.count=1",
]


@pytest.mark.slow
@pytest.mark.parametrize("team", TEAMS)
def test_a_teams_recipe_trains_scores_and_renders(in_process, tmp_path, team):
    run = tmp_path / "run"
    few = [*FEW, f"run_dir={run}"]
    phases = 5 if team == "vidar" else 2 if team in ("ipcv_iitm", "xmu_viplab") else 1
    done = in_process("train", f"baseline={team}", *few, f"schedule.total_epochs={phases}")
    assert done.code == 0, done.err
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "done"
    assert len(status["phases"]) == phases
    assert all(phase["state"] == "done" and phase["step"] == 2 for phase in status["phases"].values())
    saved = read_checkpoint(run / list(status["phases"])[-1] / "best.ckpt")
    assert all(value.isfinite().all() for value in saved["state_dict"].values() if torch.is_tensor(value))
    scored = in_process("evaluate", f"checkpoint={run}", f"output={tmp_path / 'scores'}")
    assert scored.code == 0, scored.err
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["count"] == 2


@pytest.mark.slow
def test_two_processes_train_network_and_discriminator_as_one_does(lensblend, tmp_path):
    """One step of plain gradient descent on four pairs, two in each process or all in one."""
    small = [*FEW, "model.width=4", "model.norm=instance", "module.discriminator.width=4", "schedule.total_epochs=1"]
    small += [f"{key}=0.01" for key in ("schedule.every_phase.lr", "schedule.every_phase.lr_final")]
    small += ["module.discriminator_optimizer.lr=0.01"]
    for part in ("schedule.phases.phase1.optimizer", "module.discriminator_optimizer"):
        small += [f"{part}._target_=torch.optim.SGD", f"~{part}.betas"]
    ddp = ["trainer=ddp_cpu", "trainer.strategy.find_unused_parameters=true"]
    saved = []
    for name, how in {"two": ddp, "one": ["trainer=cpu", "schedule.every_phase.batch_size=4"]}.items():
        done = lensblend("train", "baseline=slyym", *small, *how, f"run_dir={tmp_path / name}")
        assert done.code == 0, done.err
        saved.append(read_checkpoint(tmp_path / name / "phase1" / "last.ckpt"))
    two, one = saved
    assert two["global_step"] == one["global_step"] == 1
    for part in ("state_dict", "discriminator"):
        torch.testing.assert_close(two[part], one[part], rtol=0, atol=1e-6)
