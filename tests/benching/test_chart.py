"""The chart: one point a system, of its first row, whatever lies how far apart."""

import io

import numpy as np
import pytest
from PIL import Image

from lensblend.benching.cases import Case, Measured, Row, System
from lensblend.benching.chart import chart, points_of
from lensblend.benching.scores import Scores


def row(name, seconds, macs, batch=1):
    found = Measured("CPU", "cpu", (32, 48), (32, 48), 9.0, (seconds,), 1, 1, macs, 1)
    return Row(Case(System(name), batch=batch), found)


ROWS = [
    Row(Case(System("a")), reason="broken"),
    row("a", 2.0, 4 * 10**9, batch=2),
    row("a", 9.0, 10**9),
    row("b", 0.01, 10**9),
]


def test_a_system_is_where_its_first_measured_row_is():
    assert points_of(ROWS, None) == [("a", 1.0, 2.0), ("b", 0.01, 1.0)]
    assert points_of(ROWS, Scores("psnr", {"b": 30.0})) == [("b", 0.01, 30.0)]


@pytest.mark.parametrize("scores", [None, Scores("psnr", {"a": 29.0, "b": 30.0}), Scores("psnr", {"b": 30.0})])
@pytest.mark.parametrize("rows", [ROWS, [*ROWS, row("a network without operations", 1e-4, 0)]])
def test_a_picture_is_drawn(rows, scores):
    picture = np.array(Image.open(io.BytesIO(chart(rows, scores))).convert("RGB")).astype(int)
    blue = (np.abs(picture - (0, 0x72, 0xB2)).sum(axis=2) < 30).sum()
    assert blue > 50 * len(points_of(rows, scores))


def test_ticks_are_plain_numbers_also_where_an_axis_goes_by_ratios():
    from matplotlib.figure import Figure

    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lensblend.benching.chart.png", lambda figure: drawn.append(figure) or b"")
        chart(ROWS, None)
    (figure,) = drawn
    assert isinstance(figure, Figure)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert {"0.01", "0.1", "1"} <= set(labels)


def test_nothing_measured_is_no_picture():
    assert chart(ROWS[:1], None) is None
