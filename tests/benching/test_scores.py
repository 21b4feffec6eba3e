"""Scores out of compare.csv, by the run's name or its folder."""

import pytest

from lensblend.benching.cases import System
from lensblend.benching.scores import scores_of
from lensblend.comparison.csv_tables import comparison_csv
from lensblend.comparison.lines import BETWEEN, Line
from lensblend.comparison.statistics import Interval
from lensblend.errors import DataError, RequestError
from lensblend.metrics.fidelity import Psnr, Ssim


@pytest.fixture
def table(tmp_path):
    """A table as `lensblend compare` writes it, of two runs."""
    (tmp_path / "runs" / "two" / "phase1").mkdir(parents=True)
    second = Interval(31.0, 30.0, 32.0)
    means = {"psnr": Interval(30.0, 29.0, 31.0), "ssim": Interval(0.9, 0.8, 1.0)}
    lines = [
        Line("dbsi", str(tmp_path / "runs" / "one"), "phase1", 10, means, None),
        Line(
            "seed=2",
            BETWEEN.join(str(tmp_path / "runs" / name) for name in ("another", "two")),
            "phase1",
            10,
            {**means, "psnr": second},
            None,
        ),
    ]
    (tmp_path / "compare.csv").write_text(comparison_csv(lines, {"psnr": Psnr, "ssim": Ssim}), "utf-8")
    return tmp_path / "compare.csv"


def test_a_run_is_found_by_its_name_its_folder_or_a_file_in_it(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = "runs/two"
    systems = [System("dbsi", node={}), System("x", node={})]
    systems += [System(name, model=name) for name in (folder, f"{folder}/phase1", f"{folder}/phase1/best.ckpt")]
    scores = scores_of(systems, table)
    assert scores.metric == "psnr"
    assert scores.of == {"dbsi": 30.0, **{f"{folder}{end}": 31.0 for end in ("", "/phase1", "/phase1/best.ckpt")}}


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, RequestError, "does not exist; give the compare.csv"),
        ("a,b\n1,2\n", DataError, "it has no column `run`"),
        ("run,folder,metric,mean\n", DataError, "it has no rows"),
        ("run,folder,metric,mean\ndbsi,,psnr,many\n", DataError, "a mean is 'many', not a number"),
        ("run,folder,metric,mean\nours,,psnr,1\n", RequestError, "knows ours, but none of dbsi"),
        ("run,folder,metric,mean\ndbsi,,psnr,\n", RequestError, "but none of dbsi"),
    ],
)
def test_what_is_no_such_table_is_answered(tmp_path, content, error, says):
    file = tmp_path / "scores.csv"
    if content is not None:
        file.write_text(content, "utf-8")
    with pytest.raises(error, match=says):
        scores_of([System("dbsi", node={})], file)
