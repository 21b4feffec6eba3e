"""The batch scripts, run by bash with stand-ins for SLURM's programs; on a real SLURM: `make slurm-test`."""

import json
import os
import subprocess

import pytest
from submitit.core.utils import DelayedSubmission
from submitit.slurm.slurm import _make_sbatch_string

from lensblend.errors import RequestError
from lensblend.launchers.jobs import Job
from lensblend.launchers.queue import Queue, outcome, wait
from lensblend.launchers.report import Report
from lensblend.launchers.slurm import JobShape, SlurmRequest, parameters, run_jobs, submit


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put programs on the PATH, before all others, that do what a line of bash says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name, line):
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
        return folder / name

    return put


def script(request, files, shape=None, **more):
    files.mkdir(parents=True, exist_ok=True)
    asked = parameters(request, shape or JobShape(1, 1, 0), files)
    return _make_sbatch_string(command="train", folder=files, map_count=2, **{**asked, **more})


def directives(text):
    pairs = [line.removeprefix("#SBATCH --").split("=", 1) for line in text.splitlines() if line.startswith("#SBATCH")]
    return {pair[0]: pair[-1] for pair in pairs}


def job(folder, number=0, **values):
    return Job(number, (f"seed={number}",), folder / str(number), ("python", "-m", "x", f"seed={number}"), **values)


def says(folder, **status):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps(status))


def test_the_batch_script_asks_for_what_was_wished(tmp_path):
    request = SlurmRequest(
        partition="long",
        account="vision",
        qos="low",
        timeout_min=90,
        signal_delay_s=75,
        cpus_per_task=6,
        mem_gb=1.5,
        array_parallelism=1,
        setup=["module load cuda"],
        additional_parameters={"constraint": "a100"},
    )
    text = script(request, tmp_path, JobShape(nodes=2, tasks=4, gpus=4))
    asked = directives(text)
    expected = {
        "partition": "long",
        "account": "vision",
        "qos": "low",
        "time": "90",
        "signal": "USR1@75",
        "cpus-per-task": "6",
        "mem": "1536M",
        "array": "0-1%1",
        "constraint": "a100",
        "nodes": "2",
        "ntasks-per-node": "4",
        "gpus-per-node": "4",
        "open-mode": "append",
    }
    assert {name: asked.get(name) for name in expected} == expected
    assert "requeue" in asked
    # A wckey is an error on clusters that check them.
    assert "wckey" not in asked
    lines = text.splitlines()
    srun = next(line for line in lines if line.startswith("srun"))
    # srun takes neither over from sbatch.
    assert "--cpus-per-task=6" in srun
    assert "--kill-on-bad-exit=1" in srun
    assert lines.index("module load cuda") < lines.index(srun)


def test_nothing_is_asked_for_that_was_not_wished(tmp_path):
    asked = directives(script(SlurmRequest(), tmp_path))
    assert not {"partition", "account", "qos", "mem", "gpus-per-node", "cpus-per-task"} & asked.keys()


@pytest.mark.parametrize(
    ("code", "restarts", "requeued", "left"),
    [
        (0, 0, False, "0"),
        (1, 0, False, "1"),
        (2, 0, False, "2"),
        (137, 0, False, "137"),
        (143, 0, True, None),
        (143, 2, True, None),
        (138, 0, True, None),
        (143, 3, False, "143"),
    ],
)
def test_the_batch_script_starts_a_training_again_that_was_told_to_stop(
    code, restarts, requeued, left, programs, tmp_path
):
    programs("srun", f"exit {code}")
    programs("scontrol", f'echo "$@" >> {tmp_path}/scontrol.log')
    files = tmp_path / "it's a sweep"
    files.mkdir()
    (files / "12_1.exit").write_text("99")
    text = script(SlurmRequest(max_requeues=3), files)
    variables = {"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "1"}
    environment = {**os.environ, **variables, **({"SLURM_RESTART_COUNT": str(restarts)} if restarts else {})}
    ended = subprocess.run(["bash"], input=text, text=True, env=environment, check=False, capture_output=True)
    assert ended.returncode == code
    log = tmp_path / "scontrol.log"
    assert (log.read_text() if log.exists() else "") == ("requeue 12_1\n" if requeued else "")
    file = files / "12_1.exit"
    assert (file.read_text().strip() if file.exists() else None) == left


def test_a_job_that_cannot_be_queued_again_leaves_its_exit_code(programs, tmp_path):
    programs("srun", "exit 143")
    programs("scontrol", "exit 1")
    environment = {**os.environ, "SLURM_JOB_ID": "14"}
    subprocess.run(["bash"], input=script(SlurmRequest(), tmp_path), text=True, env=environment, check=False)
    assert (tmp_path / "14.exit").read_text() == "143\n"


@pytest.mark.parametrize(
    ("values", "wished", "shape"),
    [
        ({}, None, JobShape(1, 1, 0)),
        ({"processes": 2, "on_gpu": False}, None, JobShape(1, 2, 0)),
        ({"processes": 4, "on_gpu": True, "nodes": 2}, None, JobShape(2, 4, 4)),
        ({"processes": None, "on_gpu": True}, 8, JobShape(1, 8, 8)),
        ({"processes": None, "on_gpu": True, "nodes": 2}, 8, JobShape(2, 8, 8)),
        ({"processes": 1, "on_gpu": None}, 1, JobShape(1, 1, 1)),
        ({"processes": None, "on_gpu": None}, None, JobShape(1, 1, 0)),
    ],
)
def test_a_job_gets_a_task_for_each_of_its_processes(values, wished, shape, tmp_path):
    assert JobShape.of(job(tmp_path, **values), SlurmRequest(gpus_per_node=wished)) == shape


@pytest.mark.parametrize(
    ("values", "wished", "said"),
    [
        ({"processes": None, "on_gpu": True}, None, "trainer.devices=N"),
        ({"processes": None, "on_gpu": True, "nodes": 2}, None, "gpus_per_node=N"),
        ({"processes": 4, "on_gpu": True}, 2, "gpus_per_node is 2"),
    ],
)
def test_gpus_that_are_not_there_are_refused(values, wished, said, tmp_path):
    with pytest.raises(RequestError, match=said):
        JobShape.of(job(tmp_path, **values), SlurmRequest(gpus_per_node=wished))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout_min": 0}, "timeout_min"),
        ({"timeout_min": 2, "signal_delay_s": 120}, "signal_delay_s=120"),
        ({"additional_parameters": {"ntasks_per_node": 2}}, "trainer.devices"),
        ({"additional_parameters": {"gpus-per-task": 1}}, "hydra.launcher.gpus_per_node"),
        ({"additional_parameters": {"signal": "USR2@1"}}, "signal_delay_s"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(options, said):
    with pytest.raises(RequestError, match=said):
        SlurmRequest(**options)


def test_jobs_of_one_shape_are_one_array(programs, tmp_path, monkeypatch):
    programs("srun", "true")
    programs("sbatch", f'env >> {tmp_path}/env; echo "$1" >> {tmp_path}/calls; echo Submitted batch job $((6 + 1))')
    environment = {**os.environ, "SLURM_CONF": "/here", "SLURM_JOB_ID": "3", "RANK": "1", "KEPT": "yes"}
    jobs = [job(tmp_path, 0), job(tmp_path, 1)]
    ids = submit(jobs, SlurmRequest(), tmp_path / "slurm", environment)
    assert ids == {0: "7_0", 1: "7_1"}
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert seen["SLURM_CONF"] == "/here"
    assert seen["KEPT"] == "yes"
    assert not {"SLURM_JOB_ID", "RANK"} & seen.keys()
    assert "KEPT" not in os.environ
    for number, one in enumerate(jobs):
        submitted = DelayedSubmission.load(tmp_path / f"slurm/7_{number}_submitted.pkl")
        assert submitted.function is os.execv
        assert submitted.args[1] == list(one.command)
        assert os.readlink(one.folder / "job.log") == f"../slurm/7_{number}_0_log.out"


def test_jobs_of_two_shapes_are_two_arrays(programs, tmp_path):
    programs("srun", "true")
    programs("sbatch", f"echo x >> {tmp_path}/calls; echo Submitted batch job $(wc -l < {tmp_path}/calls)")
    jobs = [job(tmp_path, 0), job(tmp_path, 1, processes=2), job(tmp_path, 2)]
    assert submit(jobs, SlurmRequest(), tmp_path / "slurm", os.environ) == {0: "1_0", 1: "2", 2: "1_1"}


def test_what_slurm_refuses_is_said_in_its_words(programs, tmp_path):
    programs("srun", "true")
    programs("sbatch", "echo sbatch: error: invalid partition specified: nowhere >&2; exit 1")
    with pytest.raises(RequestError, match="invalid partition specified: nowhere"):
        submit([job(tmp_path)], SlurmRequest(partition="nowhere"), tmp_path / "slurm", os.environ)


def test_a_machine_without_slurm_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="sbatch, srun, squeue is not on the PATH"):
        run_jobs([job(tmp_path)], SlurmRequest(), tmp_path, os.environ, should_wait=True)


@pytest.mark.parametrize(
    ("line", "states"),
    [
        ("echo 7_0 RUNNING; echo 7_1 PENDING; echo 8 FAILED", {"7_0": "RUNNING", "7_1": "PENDING"}),
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", {}),
        ("echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1", None),
    ],
)
def test_the_queue_tells_forgotten_jobs_from_no_answer(line, states, programs):
    programs("squeue", line)
    assert Queue().states(["7_0", "7_1"]) == states


@pytest.mark.parametrize(
    ("status", "code", "state", "ended", "exit_code"),
    [
        ({"state": "done"}, 0, "COMPLETED", "done", 0),
        ({"state": "done"}, None, "", "done", 0),
        ({"state": "failed", "exit_code": 1, "error": "no memory"}, 1, "FAILED", "failed", 1),
        (None, 2, "FAILED", "failed", 2),
        ({"state": "interrupted"}, 143, "FAILED", "interrupted", 143),
        ({"state": "interrupted"}, None, "CANCELLED", "interrupted", None),
        ({"state": "running"}, None, "TIMEOUT", "failed", 1),
        # What SLURM calls completed is not done if its folder does not say so.
        ({"state": "interrupted"}, 0, "COMPLETED", "failed", 1),
        ({"state": "running"}, 0, "", "failed", 1),
        (None, None, "", "failed", 1),
    ],
)
def test_a_job_is_done_only_if_its_folder_says_so(status, code, state, ended, exit_code, tmp_path):
    one = job(tmp_path)
    if status is not None:
        says(one.folder, **status)
    file = tmp_path / "7_0.exit"
    if code is not None:
        file.write_text(f"{code}\n")
    told = outcome(one, file, state, 1.0)
    assert (told.state, told.exit_code) == (ended, exit_code)
    assert ended != "failed" or told.error


def test_waiting_outlasts_a_preemption_and_a_silent_controller(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lensblend.launchers.queue._FIRST_PAUSE", 0.0)
    one, other = job(tmp_path, 0), job(tmp_path, 1)
    seen = ["PENDING", "RUNNING", None, "PREEMPTED", "COMPLETING", "PENDING", "RUNNING", "COMPLETED"]

    class Scripted(Queue):
        def states(self, ids):
            assert "7_0" in ids
            state = seen.pop(0)
            if state == "COMPLETED":
                says(one.folder, state="done")
            return None if state is None else {"7_0": state}

    says(other.folder, state="failed", error="no data")
    (tmp_path / "7_1.exit").write_text("1")
    outcomes = wait([one, other], {0: "7_0", 1: "7_1"}, tmp_path, Scripted(), Report([one, other], 1))
    assert {number: told.state for number, told in outcomes.items()} == {0: "done", 1: "failed"}
    assert not seen
    out = capsys.readouterr().out
    assert out.count("7_0 running") == 2
    assert "no data" in out


def test_jobs_that_are_done_are_not_submitted_again(programs, tmp_path):
    for name in ("srun", "squeue"):
        programs(name, "true")
    programs("sbatch", f"touch {tmp_path}/called")
    says(tmp_path / "0", state="done")
    told = run_jobs([job(tmp_path)], SlurmRequest(), tmp_path, os.environ, should_wait=False)
    assert [one.state for one in told] == ["done before"]
    assert not (tmp_path / "called").exists()


def test_without_waiting_the_jobs_numbers_are_said(programs, tmp_path, capsys):
    for name in ("srun", "squeue"):
        programs(name, "true")
    programs("sbatch", "echo Submitted batch job 7")
    told = run_jobs([job(tmp_path, 0), job(tmp_path, 1)], SlurmRequest(), tmp_path, os.environ, should_wait=False)
    assert [one.state for one in told] == ["submitted", "submitted"]
    out = capsys.readouterr().out
    assert "squeue --jobs=7" in out
    assert "scancel 7" in out


def test_the_launcher_hands_on_every_key_of_its_configuration(in_process, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = ("--multirun", "hydra/launcher=slurm", f"hydra.sweep.dir={tmp_path}/sweep", "trainer=cpu", "seed=0,1")
    done = in_process("train", *asked)
    assert done.code == 2
    assert "sbatch, srun, squeue is not on the PATH" in done.err
    refused = in_process("train", *asked, "+hydra.launcher.additional_parameters.nodes=2")
    assert refused.code == 2
    assert "trainer.num_nodes" in refused.err
