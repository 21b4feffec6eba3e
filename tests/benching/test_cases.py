"""Every combination is measured once, in the order of the flags."""

import pytest

from lensblend.benching.cases import Case, Measured, Row, System, cases_of

SYSTEMS = [System("a", model="a.ckpt"), System("b", node={})]


def measured(*seconds, **changes):
    values = {"hardware": "CPU", "device": "cpu", "image_size": (64, 96), "network_size": (32, 48)}
    values |= {"first_seconds": 9.0, "seconds": seconds, "peak_bytes": 2**30, "parameters": 10, "macs": 10**9}
    return Measured(**{**values, "bytes": 2 * 10**6, **changes})


def test_the_system_changes_last_and_the_batch_first():
    cases = list(cases_of(SYSTEMS, [None, (32, 48)], ["cpu"], ["torch", "onnx"], ["fp32"], [1, 4], 3))
    assert len(cases) == len(set(map(repr, cases))) == 16
    assert cases[0] == Case(SYSTEMS[0], None, "cpu", "torch", "fp32", 1, 3)
    assert cases[1] == Case(SYSTEMS[0], None, "cpu", "torch", "fp32", 4, 3)
    assert cases[-1] == Case(SYSTEMS[1], (32, 48), "cpu", "onnx", "fp32", 4, 3)


@pytest.mark.parametrize(
    ("seconds", "median", "spread"), [((2.0,), 2.0, 0.0), ((1.0, 3.0), 2.0, 1.0), ((5.0, 1.0, 2.0, 3.0, 9.0), 3.0, 3.0)]
)
def test_median_and_quartiles_leave_out_the_first(seconds, median, spread):
    found = measured(*seconds)
    assert (found.median, found.spread) == (median, spread)


def test_seconds_a_photo_are_a_batchs_share():
    assert Row(Case(SYSTEMS[0], batch=4), measured(2.0)).seconds_a_photo == 0.5
    assert Row(Case(SYSTEMS[0]), reason="broken").seconds_a_photo is None
