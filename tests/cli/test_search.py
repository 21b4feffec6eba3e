"""`lensblend train --multirun hparams_search=optuna`: what the study, the folders and the table say afterwards."""

import json

import pytest

optuna = pytest.importorskip("optuna")
SMALL = (
    "experiment=demo",
    "debug=smoke",
    "+backbone.width_divisor=16",
    "metrics.lpips=null",
    "callbacks.panels=null",
    "schedule.run=[phase1,phase2]",
    "schedule.every_phase.max_epochs=2",
    "callbacks.prune.n_startup_trials=2",
)


def status(folder):
    return json.loads((folder / "status.json").read_text(encoding="utf-8"))


def test_a_single_training_of_a_search_needs_the_study_or_no_pruning(in_process, tmp_path):
    drawn = ["schedule.phases.phase1.lr=1e-3", "schedule.phases.phase1.lr_path=cosine"]
    done = in_process("train", "hparams_search=optuna", *SMALL, *drawn, "run_dir=run", cwd=tmp_path)
    assert done.code == 2
    assert f"{tmp_path / 'optuna.db'} does not exist" in done.err
    assert "callbacks.prune=null" in done.err
    assert not (tmp_path / "optuna.db").exists()


@pytest.mark.slow
def test_a_search_prunes_the_worse_training_and_goes_on(lensblend, tmp_path):
    def search(folder, rates, *more):
        command = ["train", "--multirun", "hparams_search=optuna", *SMALL, *more, f"hydra.sweep.dir={folder}"]
        rates = f"schedule.phases.phase1.lr=tag(log,interval({rates}))"
        storage = "hydra.sweeper.storage=sqlite:///mine.db"
        done = lensblend(*command, rates, storage, "hydra.sweeper.study_name=mine", cwd=tmp_path)
        assert done.code == 0, done.err
        return done

    search("good", "1e-3,2e-3", "hydra.sweeper.n_trials=2")
    said = search("bad", "1e-9,2e-9", "hydra.sweeper.n_trials=1").out
    assert "Pruned after epoch 1 of 4" in said
    assert said.count(" pruned ") == 2  # when it ended, and in the table
    # Two processes that train together stop together.
    search("bad_ddp", "1e-9,2e-9", "hydra.sweeper.n_trials=1", "trainer=ddp_cpu")

    trials = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path}/mine.db").trials
    folders = [tmp_path / "good" / "0", tmp_path / "good" / "1", tmp_path / "bad" / "0", tmp_path / "bad_ddp" / "0"]
    assert [trial.user_attrs["folder"] for trial in trials] == [str(folder) for folder in folders]
    assert [trial.user_attrs.get("pruned", False) for trial in trials] == [False, False, True, True]
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert [sorted(trial.intermediate_values) for trial in trials] == [[1, 2, 3, 4], [1, 2, 3, 4], [1], [1]]
    assert [status(folder)["state"] for folder in folders] == ["done", "done", "pruned", "pruned"]
    for trial, folder in zip(trials, folders, strict=True):
        last = list(status(folder)["phases"].values())[-1]
        assert trial.value == last["best"]["val/psnr"]
    for trial, folder in zip(trials[2:], folders[2:], strict=True):
        assert trial.value == trial.intermediate_values[1] < min(t.intermediate_values[1] for t in trials[:2])
        assert status(folder)["exit_code"] == 0
        assert sorted(path.name for path in folder.glob("phase*")) == ["phase1"]
        assert all((folder / "phase1" / name).is_file() for name in ("best.ckpt", "last.ckpt"))

    # Who wants the rest all the same gets it: the trial has ended, so nothing is asked any more.
    done = lensblend("train", f"resume={folders[2]}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "Trial 2 has ended" in done.out
    assert status(folders[2])["state"] == "done"
    assert [phase["step"] for phase in status(folders[2])["phases"].values()] == [4, 4]
