"""Stopping, going on and failing, as a user meets them: messages, exit codes, `status.json`."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from lensblend.cli.config import run_folder
from lensblend.runs import checkpoint_files
from lensblend.runs.checkpoint_files import hash_file, read_checkpoint
from lensblend.runs.status import Lock, Status
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.restoration import Restoration

SMALL = [
    "debug=smoke",
    "experiment=demo",
    "+backbone.width_divisor=16",
    "metrics.lpips=null",
    "logger=csv",
    "callbacks.panels=null",
    "schedule.run=[phase1]",
    "schedule.every_phase.max_epochs=3",
]
STEPS = 6
STARTED = []


def status(run_dir):
    return json.loads((run_dir / "status.json").read_text())


def weights(run_dir, phase="phase1", name="last.ckpt"):
    return torch.load(run_dir / phase / name, weights_only=True)["state_dict"]


def equal(ours, theirs):
    return all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.fixture
def in_step(monkeypatch):
    """Let something happen in a training step."""

    def install(step, act):
        original = Restoration.training_step

        def training_step(self, *arguments):
            if self.trainer.global_step == step:
                act()
            return original(self, *arguments)

        monkeypatch.setattr(Restoration, "training_step", training_step)
        return lambda: monkeypatch.setattr(Restoration, "training_step", original)

    return install


@pytest.fixture
def stopped(in_process, in_step, one_thread, tmp_path):
    """A run that SIGTERM stopped in its third step."""
    run_dir = tmp_path / "run"
    undo = in_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    done = in_process("train", *SMALL, f"run_dir={run_dir}")
    undo()
    assert done.code == 143, done.err
    return run_dir


@pytest.fixture(scope="module")
def whole(lensblend, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    assert lensblend("train", *SMALL, f"run_dir={run_dir}", env={"OMP_NUM_THREADS": "1"}).code == 0
    return run_dir


def test_a_stop_says_how_to_go_on_and_leaves_the_state(stopped):
    state = status(stopped)
    assert (state["state"], state["exit_code"], state["phase"], state["step"]) == ("interrupted", 143, "phase1", 3)
    assert state["error"] == "stopped by SIGTERM"
    assert state["phases"]["phase1"]["state"] == "running"
    assert not list(stopped.rglob("*.tmp"))


def test_the_run_folder_alone_is_enough_to_go_on(stopped, whole, in_process, tmp_path, monkeypatch):
    read, hashed = [], []
    load, digest = torch.load, checkpoint_files.file_sha256
    monkeypatch.setattr(torch, "load", lambda path, *a, **k: read.append(path) or load(path, *a, **k))
    monkeypatch.setattr(checkpoint_files, "file_sha256", lambda path: hashed.append(path) or digest(path))
    done = in_process("train", f"resume={stopped}", cwd=tmp_path)
    assert done.code == 0, done.err
    last = stopped / "phase1" / "last.ckpt"
    assert (read.count(last), hashed.count(last)) == (1, 1)
    assert "continues after step 3, 1 of 2 batches of epoch 2 done" in done.out
    assert equal(weights(stopped), weights(whole))
    assert (stopped / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert yaml.safe_load((stopped / "config.yaml").read_text())["loader"]["limit_train"] == 4
    assert (status(stopped)["state"], status(stopped)["exit_code"]) == ("done", 0)
    starts = json.loads((stopped / "provenance.json").read_text())["starts"]
    assert [start["exit_code"] for start in starts] == [143, 0]
    assert starts[1]["command"] == f"lensblend train resume={stopped}"
    assert "max_epochs=3" in (stopped / ".hydra" / "overrides.yaml").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_gpu_goes_on_bitwise_with_deterministic_algorithms(in_process, in_step, tmp_path, precision):
    device = ["trainer=gpu", f"trainer.precision={precision}", "trainer.log_every_n_steps=1", "deterministic=true"]
    arguments = [*SMALL, *device]
    assert in_process("train", *arguments, f"run_dir={tmp_path / 'whole'}").code == 0
    undo = in_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert in_process("train", *arguments, f"run_dir={tmp_path / 'run'}").code == 143
    undo()
    done = in_process("train", f"resume={tmp_path / 'run'}")
    assert done.code == 0, done.err
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_values_beside_resume_are_set_if_they_may_differ(stopped, in_process, monkeypatch):
    refused = in_process("train", f"resume={stopped}", "schedule.every_phase.lr=0.01")
    assert refused.code == 2
    assert "schedule.every_phase.lr: None then, 0.01 now" in refused.err
    assert "'resume_overrides=[schedule.every_phase.lr]'" in refused.err
    seen = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam,
        "step",
        lambda self, *a, **k: (seen.append(self.param_groups[0]["lr"]), step(self, *a, **k))[1],
    )
    allowed = ["schedule.every_phase.lr=0.01", "resume_overrides=[schedule.every_phase]"]
    done = in_process("train", f"resume={stopped}", "loader.num_workers=1", "loader.val_batch_size=2", *allowed)
    assert done.code == 0, done.err
    assert "Changed, as allowed: schedule.every_phase.lr: None then, 0.01 now" in done.out
    assert "learning rate 0.01 → 0.0005" in done.out
    seen = [rate for rate in seen if rate != 0.01]  # the first one is that of the steps which the request's check tries
    assert len(seen) == STEPS - 3
    assert seen[-1] == pytest.approx(0.0005)
    assert 0.001 < seen[0] < 0.01
    config = yaml.safe_load((stopped / "config.yaml").read_text())
    assert (config["schedule"]["every_phase"]["lr"], config["resume_overrides"]) == (0.01, [])
    assert list(status(stopped)["earlier_configs"].values()) == [["schedule.every_phase.lr: None then, 0.01 now"]]
    # The consent was for that command: the same keys are closed again, and nothing is left to do.
    again = in_process("train", f"resume={stopped}", "schedule.every_phase.lr=0.02")
    assert again.code == 2
    assert in_process("train", f"resume={stopped}").code == 0


@pytest.mark.slow
def test_a_change_is_kept_once_training_goes_on_with_it_and_not_before(stopped, in_process, monkeypatch):
    before = (stopped / "config.yaml").read_bytes()
    refused = in_process(
        "train", f"resume={stopped}", "schedule.phases.phase1.max_epochs=24", "resume_overrides=[schedule]"
    )
    assert refused.code == 2
    assert "`schedule.phases.phase1.max_epochs=24` would have no effect: schedule.every_phase" in refused.err
    # Fails before the first step: another number of weights.
    other = [*SMALL, "kernels.sizes=[25]", f"run_dir={stopped}", "resume_overrides=[kernels,model]"]
    assert in_process("train", *other).code == 1
    assert (stopped / "config.yaml").read_bytes() == before
    assert "earlier_configs" not in status(stopped)

    def fail(*_):
        raise ZeroDivisionError("by chance")

    with monkeypatch.context() as patch:
        patch.setattr(Restoration, "training_step", fail)
        change = ["schedule.every_phase.lr=0.01", "resume_overrides=[schedule.every_phase]"]
        assert in_process("train", f"resume={stopped}", *change).code == 1
    assert len(status(stopped)["earlier_configs"]) == 1
    back = in_process("train", f"resume={stopped}", "schedule.every_phase.lr=0.001")
    assert (back.code, "lr: 0.01 then, 0.001 now" in back.err) == (2, True)
    done = in_process("train", f"resume={stopped}")
    assert done.code == 0, done.err


def test_a_finished_run_stays_as_it_is(whole, in_process):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file() and path.name != ".lock"}
    for change in ("schedule.every_phase.batch_size=1", "schedule.phases.phase1.lr=1e-5", "seed=4"):
        done = in_process("train", f"resume={whole}", change, "resume_overrides=[schedule,seed]")
        key = change.partition("=")[0]
        assert done.code == 2, done.out
        assert f"`{key}` stays: every phase is finished" in done.err
        assert f"`init_from={whole}`" in done.err
    assert before == {path: path.read_bytes() for path in before}


def test_a_phase_that_a_callback_stops_is_not_done(in_process, tmp_path):
    early = ["+callbacks.early._target_=pytorch_lightning.callbacks.EarlyStopping", "+callbacks.early.monitor=val/psnr"]
    early += ["+callbacks.early.mode=max", "+callbacks.early.stopping_threshold=0.0"]
    arguments = [*SMALL, *early, "schedule.run=[phase1,phase2]", f"run_dir={tmp_path}"]
    done = in_process("train", *arguments)
    assert done.code == 0, done.err
    assert "phase1: a callback stopped it after 1 of 3 epochs" in done.out
    assert "\nStopped. Checkpoints" in done.out
    content = status(tmp_path)
    assert (content["state"], content["exit_code"]) == ("stopped", 0)
    assert {name: (p["state"], p["epochs"]) for name, p in content["phases"].items()} == {
        "phase1": ("stopped", 1),
        "phase2": ("stopped", 1),
    }
    assert "phase1: stopped before, skipped" in in_process("train", *arguments).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kernels=gaussian_75"], "only single values can be set"),
        (["~callbacks.progress"], "only single values can be set"),
        (["loader.nmu_workers=0"], "`loader.nmu_workers` is not a key"),
        (["run_dir=other"], "leave `run_dir` out"),
        (["kernels.sizes=[25]"], "`kernels` only fills in `model` when a run is composed"),
        (["saliency.norm=none", "resume_overrides=[saliency]"], "nothing here asks for saliency"),
    ],
)
def test_what_cannot_stand_beside_resume(stopped, in_process, arguments, message):
    done = in_process("train", f"resume={stopped}", *arguments)
    assert done.code == 2
    assert message in done.err


def test_what_is_no_run_folder(stopped, in_process, tmp_path):
    for path, message in [
        (tmp_path / "none", "it has no config.yaml"),
        (stopped / "phase1", f"did you mean `resume={stopped}`?"),
        (stopped / "phase1" / "last.ckpt", f"did you mean `resume={stopped}`?"),
        ("https://example.org/run", "a run's folder on this machine"),
    ]:
        done = in_process("train", f"resume={path}", cwd=tmp_path)
        assert done.code == 2
        assert message in done.err, done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    assert in_process("train", "--multirun", f"resume={stopped}", "seed=1,2").code == 2


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken(stopped, whole, in_process):
    last = stopped / "phase1" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    done = in_process("train", f"resume={stopped}")
    assert done.code == 0, done.err
    assert f"{last} is damaged" in done.out
    assert "continues after step 2" in done.out
    assert last.with_name("last.ckpt.damaged").stat().st_size == 1000
    assert equal(weights(stopped), weights(whole))


def test_without_any_valid_checkpoint_nothing_starts_over_by_itself(stopped, in_process):
    for path in (stopped / "phase1").glob("*.ckpt"):
        path.write_bytes(b"")
    done = in_process("train", f"resume={stopped}")
    assert done.code == 1
    assert "has no valid checkpoint to go on from" in done.err
    for path in (stopped / "phase1").iterdir():
        path.unlink()
    done = in_process("train", f"resume={stopped}")
    assert done.code == 1
    assert "status.json says that 3 steps were saved" in done.err
    # What the message advises.
    (stopped / "phase1").rmdir()
    done = in_process("train", f"resume={stopped}")
    assert done.code == 0, done.err
    assert "phase1 is gone, and with it 3 steps: phase1 is trained from its start" in done.out


def test_a_damaged_best_checkpoint_does_not_become_the_parent(in_process, tmp_path):
    run_dir = tmp_path / "run"
    assert in_process("train", *SMALL, f"run_dir={run_dir}").code == 0
    (run_dir / "phase1" / "best.ckpt").write_bytes(b"no longer")
    done = in_process("train", *SMALL, f"run_dir={run_dir}", "schedule.run=[phase1,phase2]")
    assert done.code == 1
    assert "phase1/best.ckpt is damaged" in done.err


def test_a_damaged_status_is_written_anew_from_the_checkpoints(stopped, in_process):
    (stopped / "status.json").write_text('{"state": "run')
    done = in_process("train", f"resume={stopped}")
    assert done.code == 0, done.err
    assert "status.json is damaged" in done.out
    assert "continues after step 3" in done.out


def test_a_checkpoint_says_where_it_comes_from(stopped, in_process):
    assert in_process("train", f"resume={stopped}", "schedule.run=[phase1,phase2]").code == 0
    record = torch.load(stopped / "phase2" / "last.ckpt", weights_only=True)["lensblend"]
    assert record["parent"]["path"] == f"{stopped}/phase1/best.ckpt"
    sums = (stopped / "phase1" / "best.ckpt.sha256").read_text()
    assert record["parent"]["sha256"] == sums.split()[0]
    assert (record["phase"], record["step"], record["format"]) == ("phase2", STEPS, 2)
    assert record["config_hash"] == status(stopped)["config_hash"]
    assert {"lensblend", "torch", "pytorch-lightning", "numpy"} <= record["versions"].keys()


def test_a_failure_is_in_the_status(in_process, in_step, tmp_path):
    def fail():
        raise ZeroDivisionError("by chance")

    in_step(3, fail)
    with pytest.raises(ZeroDivisionError):
        in_process("train", *SMALL, f"run_dir={tmp_path / 'run'}")
    state = status(tmp_path / "run")
    assert (state["state"], state["exit_code"], state["error"], state["step"]) == ("failed", 1, "by chance", 2)


@pytest.mark.slow
def test_a_folder_is_trained_in_by_one_process_at_a_time(stopped, lensblend):
    with Lock(stopped):
        done = lensblend("train", f"resume={stopped}", env={"HYDRA_FULL_ERROR": "0"})
    assert done.code == 2
    assert f"is being trained in by process {os.getpid()} on" in done.err
    assert status(stopped)["state"] == "interrupted"


def test_status_hashes_the_overrides_and_keeps_the_first(stopped, in_process):
    first = status(stopped)["overrides_hash"]
    assert len(first) == 12
    assert in_process("train", f"resume={stopped}").code == 0
    assert status(stopped)["overrides_hash"] == first
    assert Status(stopped).last_finished() == "phase1"


def test_on_slurm_the_folder_is_named_by_the_job_not_by_the_time(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert run_folder(None, None, "a=1").startswith("outputs/train/20")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    first = run_folder(None, None, "a=1")
    assert first.startswith("outputs/train/slurm-77/")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run_folder(None, None, "a=1") == first != run_folder(None, None, "a=2")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert run_folder(None, None, "a=1").startswith("outputs/train/slurm-70_3/")
    assert run_folder(None, "mine", "a=1") == "mine"
    assert run_folder("old", None, "a=1") == "old"


def start(run_dir, *arguments):
    command = [sys.executable, "-m", "lensblend.cli.main", "train", *arguments, f"run_dir={run_dir}"]
    values = {**os.environ, "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0"}
    with run_dir.with_suffix(".log").open("w") as log:
        STARTED.append(subprocess.Popen(command, env=values, stdout=log, stderr=log))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def nothing_goes_on():
    """Whatever a test that failed has left behind ends with it; data workers end with their training."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def ended(process, run_dir):
    """Wait for the end; return exit code and output."""
    return process.wait(120), run_dir.with_suffix(".log").read_text()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def processes():
    """Return the parent of every living process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    return parents


def family(pid):
    """Return a process's living descendants."""
    parents = processes()
    children = [child for child, parent in parents.items() if parent == pid]
    return children + [further for child in children for further in family(child)]


def alive(pids):
    return processes().keys() & set(pids)


LONG = [*SMALL, "schedule.every_phase.max_epochs=400", "checkpoint.every_steps=1"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_from_outside_ends_workers_and_wandb_and_goes_on_in_the_same_run(tmp_path, number):
    run_dir = tmp_path / "run"
    arguments = [*LONG, "logger=wandb", "loader.num_workers=2"]
    process = start(run_dir, *arguments)
    wait_for(lambda: (run_dir / "status.json").exists() and status(run_dir).get("step", 0) >= 3)
    children = family(process.pid)
    assert len(children) >= 3  # two data workers and W&B's own
    process.send_signal(number)
    code, out = ended(process, run_dir)
    assert code == 143, out
    assert f"Stopped by {number.name}: the last finished step is saved" in out
    wait_for(lambda: not alive(children), 10)
    identity = (run_dir / "phase1" / "wandb_id").read_text()
    again = start(run_dir, *arguments)
    steps = status(run_dir)["step"]
    wait_for(lambda: status(run_dir)["step"] > steps)
    again.send_signal(number)
    assert again.wait(60) == 143
    assert (run_dir / "phase1" / "wandb_id").read_text() == identity
    assert len(list(run_dir.glob(f"wandb/offline-run-*-{identity.strip()}"))) == 2


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_together(tmp_path):
    run_dir = tmp_path / "run"
    arguments = [*LONG, "trainer=ddp_cpu", "trainer.log_every_n_steps=1"]
    process = start(run_dir, *arguments)
    wait_for(lambda: (run_dir / "status.json").exists() and status(run_dir).get("step", 0) >= 3)
    children = family(process.pid)
    assert children
    process.terminate()
    code, out = ended(process, run_dir)
    assert code == 143, out
    wait_for(lambda: not alive(children), 10)
    again = start(run_dir, *arguments)
    steps = status(run_dir)["step"]
    wait_for(lambda: status(run_dir)["step"] > steps)
    children = family(again.pid)
    again.kill()
    again.wait(60)
    # Nobody told the others: they notice that the first one is gone.
    wait_for(lambda: not alive(children), 60)


@pytest.mark.slow
def test_a_dead_data_worker_is_said_with_advice(tmp_path):
    run_dir = tmp_path / "run"
    process = start(run_dir, *LONG, "loader.num_workers=2")
    wait_for(lambda: (run_dir / "status.json").exists() and status(run_dir).get("step", 0) >= 3)
    os.kill(family(process.pid)[0], signal.SIGKILL)
    code, out = ended(process, run_dir)
    assert code == 1, out
    assert "phase1: data worker" in out
    assert "loader.num_workers=0" in out
    assert "Traceback" not in out
    assert status(run_dir)["state"] == "failed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase": "phase2"}, "is a checkpoint of phase2, not of phase1"),
        ({"config": "seed: 9\n"}, "was started with another configuration"),
        ({"position": None}, "is of an older format"),
        ({"format": 99}, "format 99, newer than"),
    ],
)
def test_a_checkpoint_that_is_another_one_is_refused_and_not_touched(stopped, in_process, change, message):
    last = stopped / "phase1" / "last.ckpt"
    content = read_checkpoint(last)
    content["lensblend"].update(change)
    content["lensblend"] = {key: value for key, value in content["lensblend"].items() if value is not None}
    AtomicCheckpointIO().save_checkpoint(content, last)
    before = {path: path.read_bytes() for path in (stopped / "phase1").iterdir()}
    done = in_process("train", f"resume={stopped}")
    assert done.code in (1, 2)
    assert message in done.err
    assert before == {path: path.read_bytes() for path in (stopped / "phase1").iterdir()}


def test_temporaries_of_a_killed_process_are_gone_after_the_next_start(stopped, in_process):
    left = [stopped / ".status.json.12ab34cd.tmp", stopped / "phase1" / ".last.ckpt.12ab34cd.tmp"]
    for path in left:
        path.touch()
    assert in_process("train", f"resume={stopped}").code == 0
    assert not any(path.exists() for path in left)


def test_a_signal_between_two_phases_starts_no_further_one(in_process, monkeypatch, tmp_path):
    arguments = [*SMALL, "schedule.run=[phase1,phase2]", f"run_dir={tmp_path / 'run'}"]
    update = Status.update_phase

    def update_phase(self, phase, **values):
        update(self, phase, **values)
        if values.get("step") == STEPS and "state" not in values:
            os.kill(os.getpid(), signal.SIGTERM)  # after the last step of phase 1, still within its fit

    monkeypatch.setattr(Status, "update_phase", update_phase)
    assert in_process("train", *arguments).code == 143
    phases = status(tmp_path / "run")["phases"]
    assert {name: phase["state"] for name, phase in phases.items()} == {"phase1": "done"}


def test_a_folder_that_cannot_be_made_is_one_message(in_process, tmp_path):
    (tmp_path / "file").touch()
    done = in_process("train", *SMALL, f"run_dir={tmp_path / 'file' / 'run'}")
    assert done.code == 1
    assert "could not be written" in done.err
    assert "bytes are free" in done.err


def test_ctrl_c_outside_of_a_training_is_no_traceback(in_process, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lensblend.cli.train.plain", interrupted)
    done = in_process("train", *SMALL, f"run_dir={tmp_path / 'run'}")
    assert (done.code, done.err) == (143, "\nStopped.\n")


@pytest.mark.parametrize("backend", ["eager", "egaer"])
@pytest.mark.slow
def test_the_network_is_compiled_by_name_and_its_checkpoint_stays_the_same(in_process, monkeypatch, tmp_path, backend):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: compiled.append(options))
    done = in_process("train", *SMALL, f"run_dir={tmp_path / 'run'}", f"module.compile={backend}")
    if backend == "eager":
        assert (done.code, compiled) == (0, [{"backend": "eager"}])
    else:
        assert done.code == 2
        assert "`module.compile` is one of" in done.err


ALLOWED = "resume_overrides=[model,module,data,metrics,schedule,trainer,seed,loader]"
CHECKPOINT = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint"}
TABLE = {"_target_": "pytorch_lightning.loggers.CSVLogger"}


@pytest.mark.slow
def test_a_runs_folder_of_unknown_origin_writes_nowhere_else(stopped, in_process, tmp_path):
    """Each change to its configuration is refused with the key, before anything is written."""
    outside = tmp_path / "outside"
    changes = {
        ("name",): ("${oc.env:HOME}", "`name` is"),
        ("model", "bank", "sizes"): (["${oc.create:{_target_: os.system}}"], r"`model.bank.sizes[0]` is"),
        ("model", "backbone"): ({"_target_": "os.system", "_args_": [f"touch {outside}"]}, "may not be built there"),
        ("module", "_target_"): ("lensblend.launchers.local._Running", "may not be built there"),
        ("data", "_target_"): ("lensblend.networks.ensemble.Ensemble", "may not be built there"),
        ("metrics", "psnr"): ({"_target_": "lensblend.losses.pixel.L1"}, "`metrics.psnr._target_`"),
        ("logger", "csv", "_target_"): ("pytorch_lightning.loggers.WandbLogger", "`logger.csv._target_`"),
        ("logger", "more"): ({**TABLE, "save_dir": str(outside)}, "outside the run's folder"),
        ("logger", "most"): ({**TABLE, "name": "../../../outside"}, "outside the run's folder"),
        ("callbacks", "more"): ({**CHECKPOINT, "dirpath": str(outside)}, "outside the run's folder"),
        ("callbacks", "most"): ({**CHECKPOINT, "dirpath": "../outside"}, "outside the run's folder"),
        ("schedule", "phases", "../evil"): (None, "A phase is called '../evil'"),
        ("schedule", "run"): (["../evil"], "'../evil'"),
        ("schedule", "phases", "phase1", "lr"): ("x", "lr` has the wrong type"),
        ("schedule", "phases", "phase1", "optimizer", "_target_"): ("torch.load", "_target_` is 'torch.load'"),
        ("loader", "num_workers"): ("x", "num_workers` has the wrong type"),
        ("trainer", "default_root_dir"): (str(outside), "trainer.default_root_dir"),
        ("trainer", "accelerator"): ("tpu", "`trainer` was refused"),
        ("seed",): ([1], "seed"),
        ("zz",): (1, "`zz` is not a key"),
        ("data",): (5, "its `data` is of the wrong type"),
    }
    file = stopped / "config.yaml"
    whole = file.read_text()
    for path, (value, says) in changes.items():
        config = yaml.safe_load(whole)
        node = config
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = config["schedule"]["phases"]["phase1"] if value is None else value
        file.write_text(yaml.safe_dump(config))
        done = in_process("train", f"resume={stopped}", ALLOWED, cwd=tmp_path)
        assert done.code in (1, 2), (path, done.out)
        assert says in done.err, (path, done.err)
        assert "Traceback" not in done.err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["run"], path
    file.write_text(whole)
    config = yaml.safe_load(whole)
    config["data"]["cache"] = str(outside)
    file.write_text(yaml.safe_dump(config))
    done = in_process("train", f"resume={stopped}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert f"add data.cache={outside}" in done.out
    assert not outside.exists()
    placed = {"_target_": "pytorch_lightning.loggers.CSVLogger", "_args_": [str(outside)]}
    for group, node in (
        ("logger", {"table": placed}),
        ("data", {**config["data"], "_args_": [[32, 48], 1, 1, 0, "x"]}),
    ):
        file.write_text(yaml.safe_dump({**yaml.safe_load(whole), group: node}))
        done = in_process("train", f"resume={stopped}", ALLOWED, cwd=tmp_path)
        assert done.code == 2
        assert "write these arguments by their names" in done.err
    assert not outside.exists()


def test_links_in_a_runs_folder_lead_nowhere_else(stopped, in_process, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "dear").write_text("dear")
    before = {path.name: path.read_bytes() for path in victim.iterdir()}
    for name in ("phase1", "panels", "wandb", "compare"):
        kept = stopped / f"{name}.kept"
        if (stopped / name).exists():
            (stopped / name).rename(kept)
        (stopped / name).symlink_to(victim)
        done = in_process("train", f"resume={stopped}")
        assert done.code == 1, name
        assert f"{name} is a link that leads out of" in done.err
        (stopped / name).unlink()
        if kept.exists():
            kept.rename(stopped / name)
    (stopped / ".lock").unlink()
    (stopped / ".lock").symlink_to(victim / "dear")
    assert ".lock is no file" in in_process("train", f"resume={stopped}").err
    assert before == {path.name: path.read_bytes() for path in victim.iterdir()}


@pytest.mark.slow
def test_a_damaged_training_state_is_said_with_its_checkpoint(stopped, in_process):
    """The optimizer's and Lightning's own state is looked at by Lightning; what it cannot use ends in one line."""
    last = stopped / "phase1" / "last.ckpt"
    whole = read_checkpoint(last)
    state = whole["optimizer_states"][0]
    first = state["state"][0]
    changes = {
        "optimizer_states": [
            None, [], "x", [5], [{}], [{**state, "state": {0: {**first, "exp_avg": torch.zeros(3)}}}],
            [{**state, "state": "x"}], [{**state, "param_groups": []}], [{**state, "state": {0: {"step": "x"}}}],
        ],
        "lr_schedulers": [None, [5], [{"last_epoch": "x"}]],
        "loops": [None, {}, {"fit_loop": 5}],
        "callbacks": [5, {"x": 5}],
        "pytorch-lightning_version": [5, "x"],
        "epoch": ["x"],
        "lensblend": [{**whole["lensblend"], "position": {"epoch": 10**9, "batch": 0, "batches": 2}}],
    }  # fmt: skip
    for key, values in changes.items():
        for value in values:
            torch.save({**whole, key: value}, last)
            hash_file(last).unlink(missing_ok=True)
            for name in ("previous.ckpt", "best.ckpt"):
                (stopped / "phase1" / name).unlink(missing_ok=True)
            before = last.read_bytes()
            done = in_process("train", f"resume={stopped}")
            # What Lightning does not need, it does not look at.
            assert done.code in (0, 1), (key, value)
            assert "Traceback" not in done.err
            if done.code:
                assert str(last) in done.err, (key, value, done.err)
                assert last.read_bytes() == before
            else:
                assert key in ("callbacks", "epoch", "pytorch-lightning_version"), value
                return_to_start(stopped)


def return_to_start(run_dir):
    content = status(run_dir)
    content["phases"]["phase1"] |= {"state": "running", "step": 3}
    (run_dir / "status.json").write_text(json.dumps({**content, "state": "interrupted"}))
