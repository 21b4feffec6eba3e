"""Jobs in real processes: how many at once, what a failure, a signal and a dead launcher do to them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lensblend.launchers.jobs import Job
from lensblend.launchers.local import run_jobs

# A launcher in a process of its own, so that it can be given signals.
LAUNCHER = """
import os, sys
from pathlib import Path
from lensblend.launchers.jobs import Job
from lensblend.launchers.local import run_jobs
folder, slots, *codes = sys.argv[1:]
jobs = [Job(i, (f"job={i}",), Path(folder) / str(i), (sys.executable, "-c", c)) for i, c in enumerate(codes)]
outcomes = run_jobs(jobs, int(slots), os.environ)
print("STATES", [o.state for o in outcomes])
"""
# A job with a process of its own that saves when it is told to stop, as a training does.
OBEDIENT = """
import os, signal, subprocess, sys, time
from lensblend.cli.hydra_app import stop_with_launcher
stop_with_launcher()
told = []
signal.signal(signal.SIGTERM, lambda n, f: told.append(n))
signal.signal(signal.SIGINT, lambda n, f: told.append(n))
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("{folder}/pids", "a").write(f"{{os.getpid()}} {{helper.pid}} ")
until = time.monotonic() + 60
while not told and time.monotonic() < until:
    time.sleep(0.05)
{then}
"""
SAVES = "helper.terminate(); open('{folder}/saved', 'w').write(str(told)); sys.exit(143)"


def job(number, folder, code):
    return Job(number, (f"job={number}",), folder / str(number), (sys.executable, "-c", code))


def launcher(tmp_path, slots, *codes):
    output = (tmp_path / "output").open("wb")
    command = [sys.executable, "-c", LAUNCHER, str(tmp_path), str(slots), *codes]
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    output.close()
    return process


def said(tmp_path):
    return (tmp_path / "output").read_text(encoding="utf-8")


def wait_for(condition, seconds=40):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.05)


def pids(tmp_path):
    file = tmp_path / "pids"
    return [int(pid) for pid in file.read_text(encoding="utf-8").split()] if file.exists() else []


def is_alive(pid):
    try:
        # An orphan that has ended, but whose end nobody has asked for, is not alive.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_failure_leaves_the_others_alone_and_is_said_when_it_happens_and_at_the_end(tmp_path, capfd):
    codes = ["import sys; print('to the log'); sys.exit(1)", "pass", "import os; os.kill(os.getpid(), 9)"]
    outcomes = run_jobs([job(i, tmp_path, code) for i, code in enumerate(codes)], 2, os.environ)
    assert [(o.state, o.exit_code) for o in outcomes] == [("failed", 1), ("done", 0), ("failed", -9)]
    assert (tmp_path / "0" / "job.log").read_text(encoding="utf-8") == "to the log\n"
    out = capfd.readouterr().out
    assert out.index("Job 0 (job=0) failed") < out.index("Jobs of the sweep")
    table = out[out.index("Jobs of the sweep") :]
    assert "killed by SIGKILL" in table
    assert re.search(r"1 .*job=1.*done", table)
    assert re.search(r"Job 0 failed: ended with exit code 1 \(.*0/job\.log\)", table)


def test_one_slot_gives_the_job_the_terminal(tmp_path, capfd):
    assert [o.state for o in run_jobs([job(0, tmp_path, "print('seen at once')")], 1, os.environ)] == ["done"]
    assert "seen at once" in capfd.readouterr().out
    assert not (tmp_path / "0" / "job.log").exists()


def test_as_many_run_at_once_as_there_are_slots(tmp_path):
    # Each waits until two have come: with fewer slots neither would end; a third may not come before.
    meet = f"""
import os, time
open({str(tmp_path)!r} + f"/here-{{os.getpid()}}", "w").close()
until = time.monotonic() + 20
while len([n for n in os.listdir({str(tmp_path)!r}) if n.startswith("here")]) < 2:
    assert time.monotonic() < until
    time.sleep(0.02)
"""
    outcomes = run_jobs([job(i, tmp_path, meet) for i in range(2)], 2, os.environ)
    assert [o.state for o in outcomes] == ["done", "done"]
    alone = "import os, sys; lock = {!r} + '/alone'; os.mkdir(lock); import time; time.sleep(.3); os.rmdir(lock)"
    outcomes = run_jobs([job(i, tmp_path, alone.format(str(tmp_path))) for i in range(3)], 1, os.environ)
    assert [o.state for o in outcomes] == ["done"] * 3


def test_jobs_at_once_see_their_own_gpus_only(tmp_path):
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    jobs = [Job(i, (f"{i}",), tmp_path / str(i), (sys.executable, "-c", code), 2, True) for i in range(3)]
    outcomes = run_jobs(jobs, 2, {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    seen = [(tmp_path / str(i) / "job.log").read_text(encoding="utf-8").strip() for i in range(3)]
    assert set(seen[:2]) == {"0,1", "2,3"}
    # The third waits for the GPUs of one that has ended.
    assert seen[2] in seen[:2]
    assert [o.state for o in outcomes] == ["done"] * 3


def test_what_is_done_is_not_done_again(tmp_path, capfd):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "status.json").write_text('{"state": "done"}', encoding="utf-8")
    outcomes = run_jobs([job(0, tmp_path, "raise SystemExit(1)"), job(1, tmp_path, "pass")], 1, os.environ)
    assert [o.state for o in outcomes] == ["done before", "done"]
    assert "done before" in capfd.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("slots", [1, 2])
def test_a_signal_lets_the_running_jobs_save_and_starts_no_more(tmp_path, number, slots):
    code = OBEDIENT.format(folder=tmp_path, then=SAVES.format(folder=tmp_path))
    # One of them takes longer: nothing may start in the place of the other.
    slow = code.replace("helper.terminate()", "time.sleep(1); helper.terminate()")
    process = launcher(tmp_path, slots, *[code] * (slots - 1), slow, code)
    wait_for(lambda: len(pids(tmp_path)) == 2 * slots)
    process.send_signal(number)
    assert process.wait(40) == 0
    assert f"STATES {['interrupted'] * slots + ['not started']}" in said(tmp_path)
    assert (tmp_path / "saved").read_text(encoding="utf-8") == f"[{int(number)}]"
    assert not any(map(is_alive, pids(tmp_path)))
    assert len(pids(tmp_path)) == 2 * slots


def test_a_second_ctrl_c_reaches_a_job_that_is_still_saving(tmp_path):
    then = "until = time.monotonic() + 30\nwhile len(told) < 2 and time.monotonic() < until:\n    time.sleep(.05)\n"
    code = OBEDIENT.format(folder=tmp_path, then=then + SAVES.format(folder=tmp_path))
    process = launcher(tmp_path, 1, code)
    wait_for(lambda: len(pids(tmp_path)) == 2)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "once more stops at once" in said(tmp_path))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert (tmp_path / "saved").read_text(encoding="utf-8") == "[2, 2]"


@pytest.mark.slow
def test_a_job_that_does_not_listen_is_killed_after_a_second_ctrl_c(tmp_path):
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + OBEDIENT.format(
        folder=tmp_path, then="time.sleep(60)"
    )
    process = launcher(tmp_path, 1, deaf)
    wait_for(lambda: len(pids(tmp_path)) == 2)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert process.wait(40) == 0
    assert not any(map(is_alive, pids(tmp_path)))


def test_a_job_whose_launcher_was_killed_saves_and_stops(tmp_path):
    code = OBEDIENT.format(folder=tmp_path, then=SAVES.format(folder=tmp_path))
    process = launcher(tmp_path, 2, code, code)
    wait_for(lambda: len(pids(tmp_path)) == 4)
    process.kill()
    process.wait()
    wait_for(lambda: (tmp_path / "saved").exists() and not any(map(is_alive, pids(tmp_path))))
    assert (tmp_path / "saved").read_text(encoding="utf-8") == f"[{int(signal.SIGTERM)}]"


@pytest.mark.slow
def test_what_a_killed_job_leaves_behind_is_ended(tmp_path):
    code = OBEDIENT.format(folder=tmp_path, then="") + "os.kill(os.getpid(), signal.SIGKILL)"
    code = code.replace("until = time.monotonic() + 60", "until = time.monotonic()")
    outcomes = run_jobs([job(0, tmp_path, code)], 1, os.environ)
    assert [o.exit_code for o in outcomes] == [-signal.SIGKILL]
    wait_for(lambda: not any(map(is_alive, pids(tmp_path))))
