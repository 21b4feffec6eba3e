"""Signals, sent for real to this process."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lensblend.errors import Interrupted
from lensblend.runs.signals import STOPS, heeded
from lensblend.training.interruption import Interruption


@pytest.mark.parametrize("number", STOPS)
def test_outside_of_a_step_a_signal_stops_where_it_arrives(number):
    before = signal.getsignal(number)
    with Interruption(), pytest.raises(Interrupted) as stopped:
        os.kill(os.getpid(), number)
    assert (stopped.value.signal, stopped.value.exit_code, stopped.value.saved) == (number.name, 143, False)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", STOPS)
def test_within_a_step_it_is_remembered(number, capfd):
    with Interruption() as interruption:
        with interruption.deferred():
            os.kill(os.getpid(), number)
            assert interruption.received == number
        assert f"{number.name}: saving after this step" in capfd.readouterr().err
        with pytest.raises(Interrupted, match=number.name):
            interruption.check()


def test_sigterm_again_changes_nothing_but_ctrl_c_again_stops_at_once():
    with Interruption() as interruption, interruption.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.received == signal.SIGTERM
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


def test_without_a_signal_nothing_happens():
    with Interruption() as interruption:
        interruption.check()


def test_a_hang_up_that_nohup_has_it_ignore_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in heeded()
        with Interruption() as interruption:
            interruption.install()
            os.kill(os.getpid(), signal.SIGHUP)
        assert interruption.received is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_gone_does_not_keep_a_training_from_saving(monkeypatch):
    def gone(*_):
        raise OSError(5, "Input/output error")

    with Interruption() as interruption, interruption.deferred():
        monkeypatch.setattr(os, "write", gone)
        os.kill(os.getpid(), signal.SIGHUP)
    assert interruption.received == signal.SIGHUP


_TRAINING = """
import multiprocessing, signal, sys, time

from lensblend.training.interruption import leave_signals_to_parent


def work(ready):
    leave_signals_to_parent(0)
    ready.set()
    time.sleep(60)


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    ready = context.Event()
    worker = context.Process(target=work, args=(ready,), daemon=True)
    worker.start()
    assert ready.wait(60)
    print(worker.pid, flush=True)
    sys.stdin.readline()
    alive = worker.is_alive()
    worker.terminate()
    worker.join(30)
    print(alive, worker.exitcode, flush=True)
"""


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def training(request, tmp_path):
    """A process with a worker that was started in one of the ways there are, and the worker's number."""
    (tmp_path / "training.py").write_text(_TRAINING, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "training.py"), request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process, int(process.stdout.readline())
        process.kill()


def test_a_worker_outlives_all_signals_but_its_parents_sigterm(training):
    process, worker = training
    for number in STOPS:
        os.kill(worker, number)
    time.sleep(0.2)
    assert process.communicate("\n")[0] == "True 0\n"


def test_a_worker_ends_with_a_parent_that_is_killed(training):
    process, worker = training
    process.kill()
    process.wait()
    for _ in range(300):
        if not is_running(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlives its parent")


def is_running(pid):
    """Whether a process is there, and not only its entry."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
