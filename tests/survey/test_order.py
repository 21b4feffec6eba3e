"""The order of the page's own script: each trial at each place equally often, and each side as well."""

import itertools
import json
import shutil
import subprocess
from collections import Counter

import pytest

from lensblend.survey.pages import PAGE


@pytest.fixture(scope="module")
def run_script():
    """Run the page's order under Node, which Playwright brings."""

    def run(expression):
        driver = pytest.importorskip("playwright._impl._driver", reason="the package playwright is not installed")
        node = shutil.which("node") or driver.compute_driver_executable()[0]
        script = f"{(PAGE / 'order.js').read_text()}\nconsole.log(JSON.stringify({expression}))"
        done = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=120, check=True)
        return json.loads(done.stdout)

    return run


def test_every_trial_is_at_every_place_equally_often_and_on_both_sides(run_script):
    for rows in run_script("[1, 2, 3, 12, 17].map((n) => [...Array(2 * n).keys()].map((row) => orderOfRow(row, n)))"):
        count = len(rows) // 2
        places = Counter((place, at["trial"], at["isSwapped"]) for row in rows for place, at in enumerate(row))
        assert len(places) == 2 * count * count
        assert set(places.values()) == {1}
        for row in rows:
            assert sorted(at["trial"] for at in row) == list(range(count))
            swapped = sum(at["isSwapped"] for at in row)
            assert abs(2 * swapped - count) <= 1  # nobody has one side only


def test_every_trial_follows_every_other_one_equally_often(run_script):
    for rows in run_script("[7, 12].map((n) => [...Array(2 * n).keys()].map((row) => orderOfRow(row, n)))"):
        count = len(rows) // 2
        after = Counter((a["trial"], b["trial"]) for row in rows for a, b in itertools.pairwise(row))
        assert len(after) == count * (count - 1)
        assert set(after.values()) == {2}


def test_raters_are_spread_over_the_rows_by_id_and_seed(run_script):
    raters = "[...Array(3400).keys()].map((number) => (number * 40503).toString(16).padStart(16, 0))"
    first, second = run_script(f"[0, 1].map((seed) => {raters}.map((rater) => rowOf(seed, rater, 34)))")
    for rows in (first, second):
        counts = Counter(rows)
        assert len(counts) == 34
        # A chi-square of 33 degrees of freedom is below 67 but for one in two thousand.
        assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 67
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 200
    assert (
        run_script("[1, 2].map(() => orderOf(5, '0123456789abcdef', 17))")
        == [run_script("orderOf(5, '0123456789abcdef', 17)")] * 2
    )
