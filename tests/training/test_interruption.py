"""Signals, sent for real to this process."""

import multiprocessing
import os
import signal
import time

import pytest

from lensblend.errors import Interrupted
from lensblend.training.interruption import SIGNALS, Interruption, leave_signals_to_parent


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_a_step_a_signal_stops_where_it_arrives(number):
    before = signal.getsignal(number)
    with Interruption(), pytest.raises(Interrupted) as stopped:
        os.kill(os.getpid(), number)
    assert (stopped.value.signal, stopped.value.exit_code, stopped.value.saved) == (number.name, 143, False)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
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


def _work(ready):
    leave_signals_to_parent(0)
    ready.set()
    time.sleep(60)


def _kill(pid, number):
    os.kill(pid, number)


def test_a_data_worker_outlives_all_signals_but_its_parents_sigterm():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=_work, args=(ready,), daemon=True)
    worker.start()
    assert ready.wait(30)
    for number in SIGNALS:
        other = context.Process(target=_kill, args=(worker.pid, number))
        other.start()
        other.join(30)
    os.kill(worker.pid, signal.SIGINT)
    worker.join(0.5)
    assert worker.is_alive()
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == 0
