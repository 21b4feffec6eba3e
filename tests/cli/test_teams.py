"""Every team's own recipe through the real command line: full-width networks and losses, small crops, few steps."""

import json

import pytest
import torch

from lensblend.training.checkpoint_files import read_checkpoint

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
def test_a_teams_recipe_trains_scores_and_renders(lensblend, tmp_path, team):
    run = tmp_path / "run"
    few = [*FEW, f"run_dir={run}"]
    phases = 5 if team == "vidar" else 2 if team in ("ipcv_iitm", "xmu_viplab") else 1
    done = lensblend("train", f"baseline={team}", *few, f"schedule.total_epochs={phases}")
    assert done.code == 0, done.err
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "done"
    assert len(status["phases"]) == phases
    assert all(phase["state"] == "done" and phase["step"] == 2 for phase in status["phases"].values())
    saved = read_checkpoint(run / list(status["phases"])[-1] / "best.ckpt")
    assert all(value.isfinite().all() for value in saved["state_dict"].values() if torch.is_tensor(value))
    scored = lensblend("evaluate", f"checkpoint={run}", f"output={tmp_path / 'scores'}")
    assert scored.code == 0, scored.err
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["count"] == 2
