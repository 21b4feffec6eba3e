"""`lensblend train --multirun`: what is refused before anything runs, and a real sweep."""

import json

import pytest

from lensblend.runs.configuration import overrides_hash

SMALL = (
    "experiment=demo",
    "debug=smoke",
    "+backbone.width_divisor=16",
    "metrics.lpips=null",
    "callbacks.panels=null",
    "schedule.run=[phase1]",
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra/launcher=basic", "trainer=ddp_cpu"], "`trainer.devices=2` needs several processes"),
        (["hydra/launcher=basic", "trainer=cpu", "trainer.devices=3"], "`trainer.devices=3` needs several processes"),
        (["run_dir=somewhere"], "`run_dir=somewhere` would put every job of a multirun into one folder"),
        (["hydra.launcher.slots=0"], "`hydra.launcher.slots` is how many jobs run at once, at least 1: got 0"),
        (["hydra.sweep.subdir=same", "seed=1,2"], "same belongs to another job of this sweep"),
        (["hydra.launcher.slots=2", "trainer=gpu", "trainer.devices=2"], "asks for 2 GPUs, but there are 1"),
    ],
)
def test_a_sweep_that_cannot_work_is_refused_before_a_job_starts(in_process, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    done = in_process("train", "--multirun", *SMALL, *arguments, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.rglob("status.json"))


def test_a_folder_that_holds_another_sweep_is_not_written_to(in_process, tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "status.json").write_text('{"state": "done"}', encoding="utf-8")
    done = in_process("train", "--multirun", *SMALL, "seed=1,2", f"hydra.sweep.dir={tmp_path}")
    assert done.code == 2
    assert "belongs to an earlier start" in done.err
    assert "hydra.launcher.resume=true" in done.err


def test_a_sweep_of_which_everything_is_done_starts_nothing(in_process, tmp_path):
    for number in (0, 1, 2):
        (tmp_path / str(number)).mkdir()
        # The other way round than the sweep numbers them.
        content = {
            "state": ["done", "pruned", "done"][number],
            "overrides_hash": overrides_hash([*SMALL, f"seed={3 - number}"]),
        }
        (tmp_path / str(number) / "status.json").write_text(json.dumps(content), encoding="utf-8")
    arguments = [*SMALL, "seed=1,2,3", f"hydra.sweep.dir={tmp_path}", "hydra.launcher.resume=true"]
    done = in_process("train", "--multirun", *arguments)
    assert (done.code, done.out.count("done before"), done.out.count("pruned before")) == (0, 4, 2)
    assert f"lensblend compare {tmp_path}" in done.out


@pytest.mark.slow
def test_jobs_get_what_the_command_line_gave(lensblend, tmp_path):
    # A configuration folder of the user's own, Hydra's own settings, and names that a shell or Hydra's grammar minds.
    own = tmp_path / "my conf" / "kernels"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(
        "_target_: lensblend.nn.kernel_bank.KernelBank\nfamily: gaussian\nsizes: [9, 13]\n", encoding="utf-8"
    )
    sweep = tmp_path / "a 'sweep', (1) $x"
    arguments = [*SMALL, "kernels=mine", "schedule.every_phase.lr=1e-3,-1", "name='${seed} x'"]
    command = ["train", "--multirun", "--config-dir", tmp_path / "my conf", *arguments, "hydra.job.name=mine"]
    command.append("hydra.sweep.subdir=job-${hydra.job.num}")
    done = lensblend(*command, f'hydra.sweep.dir="{sweep}"', env={"HYDRA_FULL_ERROR": "0"})
    assert done.code == 1, done.err
    states = {path.parent.name: json.loads(path.read_text())["state"] for path in sweep.glob("*/status.json")}
    assert states == {"job-0": "done"}  # the other one's request was refused before it wrote anything
    assert "sizes:\n  - 9\n  - 13" in (sweep / "job-0" / "config.yaml").read_text(encoding="utf-8")
    assert "`lr` is a positive learning rate, but got -1" in done.err
    assert "1 of 2 jobs failed" in done.err
    assert "Traceback" not in done.err + done.out
    assert "name: 0 x" in (sweep / "job-0" / "config.yaml").read_text(encoding="utf-8")
    again = lensblend(*command, f'hydra.sweep.dir="{sweep}"', "hydra.launcher.resume=true")
    assert (again.code, again.out.count("done before")) == (1, 2)
    assert (sweep / "job-0" / ".hydra" / "overrides.yaml").exists()
