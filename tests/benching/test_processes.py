"""What is measured has a process of its own, and what befalls it there is said in a line."""

import operator
import os

import numpy as np
import pytest

from lensblend.benching.processes import in_own_process, peak_memory
from lensblend.errors import DataError


def test_it_is_another_process_with_empty_caches_of_its_own(capfd):
    assert in_own_process(os.getpid) != os.getpid()
    place = in_own_process(os.getenv, "LENSBLEND_CACHE")
    assert place != os.environ["LENSBLEND_CACHE"]
    assert not os.path.exists(os.path.dirname(place))
    in_own_process(print, "said")
    out, err = capfd.readouterr()
    assert out == ""
    assert "said" in err


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        (operator.truediv, (1, 0), "ZeroDivisionError: division by zero"),
        (exec, ("import os; os.kill(os.getpid(), 9)",), "killed, as systems do when memory runs out"),
        (os._exit, (3,), "ended with exit code 3"),
        (os.abort, (), "ended by SIGABRT"),
    ],
)
def test_what_goes_wrong_there_is_said(function, arguments, says):
    with pytest.raises(DataError, match=says):
        in_own_process(function, *arguments)


def test_peak_memory_counts_what_was_held_and_let_go():
    before = peak_memory()
    assert before > 2**20
    held = np.ones(before + 2**26, np.uint8)
    del held
    assert before < peak_memory() < 8 * before
