"""MOS beside metrics: read from a study's table, matched by name, correlated as SciPy does by hand."""

import csv
import io
from unittest.mock import ANY

import pytest
from scipy import stats

from hostile_names import NAMES
from lensblend.comparison.csv_tables import comparison_csv
from lensblend.comparison.explanations import explained
from lensblend.comparison.lines import Line, Opinion
from lensblend.comparison.opinions import (
    agreement_cells,
    agreements,
    opinions_markdown,
    opinions_sections,
    rated,
    read_ratings,
)
from lensblend.comparison.statistics import Difference, Interval
from lensblend.comparison.studies.aim2019 import TEAMS
from lensblend.comparison.tables import markdown, marks, table_cells
from lensblend.errors import DataError, RequestError
from lensblend.metrics.fidelity import Psnr
from lensblend.metrics.perceptual import Lpips
from lensblend.survey.answers import Answer
from lensblend.survey.levels import score_levels
from lensblend.survey.rating_tables import mos_csv
from lensblend.survey.resampling import Resampling

METRICS = {"psnr": Psnr, "lpips": Lpips}


def line(label, psnr, lpips=0.3, folder=None, opinion=None):
    means = {"psnr": Interval(psnr, psnr - 1, psnr + 1), "lpips": Interval(lpips, lpips, lpips)}
    paired = {name: Difference(one.mean, one.low, one.high, 9) for name, one in means.items()}
    return Line(label, folder or f"runs/{label}", "phase1", 12, means, None if label == "a" else paired, opinion)


def mos(value):
    return Opinion(Interval(value, value - 0.1, value + 0.1), 10)


@pytest.fixture
def study(tmp_path):
    """Write the mos.csv of methods with these levels on two images."""

    def write(methods, name="mos.csv"):
        told = [Answer(r, i, m, None, v, None, 2.0) for m, v in methods.items() for r in "rs" for i in "12"]
        path = tmp_path / name
        path.write_bytes(mos_csv(score_levels(told, Resampling(20))).encode(errors="backslashreplace"))
        return path

    return write


def test_a_study_is_read_as_it_was_written_and_said_beside_the_metrics(study):
    lines, notes = rated([line("a", 24.0), line("b", 22.0)], read_ratings(study({"b": 3, "a": 1})))
    assert notes == []
    assert [(o.opinion.mos, o.opinion.images) for o in lines] == [
        (Interval(1.0, 1.0, 1.0), 2),
        (Interval(3.0, 3.0, 3.0), 2),
    ]
    cells = table_cells(lines, METRICS)
    assert cells[0] == ["Δ to a", "PSNR ↑", "LPIPS ↓", "MOS ↓", "Δ PSNR ↑", "Δ LPIPS ↓", "parameters"]
    assert [row[3] for row in cells[1:]] == ["1.00 [1.00, 1.00]", "3.00 [3.00, 3.00]"]
    assert [row[3] for row in marks(lines, METRICS)] == ["", "best", ""]
    assert {len(row) for row in [*cells, *marks(lines, METRICS)]} == {7}
    assert "0 (almost identical) to 4" in explained(lines, 5, METRICS)
    rows = [row for row in csv.DictReader(io.StringIO(comparison_csv(lines, METRICS))) if row["metric"] == "mos"]
    assert [(row["run"], row["count"], row["mean"], row["difference"]) for row in rows] == [
        ("a", "2", "1.0", ""),
        ("b", "2", "3.0", ""),
    ]


def test_without_ratings_nothing_changes():
    lines = [line("a", 24.0), line("b", 22.0)]
    assert "MOS" not in markdown(lines, METRICS, 5) + comparison_csv(lines, METRICS)
    assert opinions_markdown(lines, METRICS, []) == opinions_sections(lines, METRICS, []) == []


def test_what_is_missing_on_either_side_is_said(study):
    lines, notes = rated([line("a", 24.0), line("b", 22.0)], read_ratings(study({"a": 1, "someone": 2})))
    assert notes == ["mos.csv has no MOS of b.", "someone, of mos.csv, is none of these runs."]
    assert table_cells(lines, METRICS)[2][3] == "–"
    assert [row[3] for row in marks(lines, METRICS)] == ["", "best", ""]
    assert all(note in "\n".join(opinions_markdown(lines, METRICS, notes)) for note in notes)
    assert opinions_sections(lines, METRICS, notes)[0].notes[-2:] == notes


def test_a_study_of_other_methods_is_refused(study):
    with pytest.raises(DataError, match=r"mos.csv rates x, y; none of these is a run. The runs are a; call"):
        rated([line("a", 24.0)], read_ratings(study({"x": 1, "y": 2})))


def test_a_run_may_be_called_as_its_folder(study):
    runs = [line("k=1", 24.0, folder="out/one"), line("k=2", 22.0, folder="out/two"), line("out/one", 20.0)]
    ratings = read_ratings(study({"out/two": 2, "one": 1, "out/one": 4}))
    # A run's own name counts before another's folder.
    assert [o.opinion.mos.mean if o.opinion else None for o in rated(runs, ratings)[0]] == [4, 2, 4]


def test_a_folders_name_that_two_share_names_none(study):
    runs = [line("k=1", 24.0, folder="x/0"), line("k=2", 22.0, folder="y/0"), line("k=3", 22.0, folder="y/1")]
    lines, notes = rated(runs, read_ratings(study({"0": 2, "1": 1})))
    assert [o.opinion is not None for o in lines] == [False, False, True]
    assert "0, of mos.csv, is none of these runs." in notes


def test_correlations_are_those_of_the_challenge_as_scipy_has_them():
    """Figures of the printed table; section 3.2 says that they do not strongly correlate."""
    runs = [line(t.name, t.fidelity[0], 1 - t.fidelity[1], opinion=mos(t.mos)) for t in TEAMS]
    psnr, lpips = agreements(runs, METRICS)
    opinion = [-t.mos for t in TEAMS]
    # By hand: the differences of the ranks 1 to 9 by MOS and 2, 6, 5, 1, 4, 3, 7, 8, 9 by PSNR have squares 1, 16, 4,
    # 9, 1, 9, 0, 0, 0 of sum 40, so ρ = 1 − 6·40 / (9·80); of the 36 pairs, 9 are turned round, so τ = (27 − 9) / 36.
    assert psnr.spearman == pytest.approx(1 - 240 / 720)
    assert psnr.kendall == pytest.approx((36 - 2 * 9) / 36)
    assert lpips.spearman == pytest.approx(stats.spearmanr(opinion, [t.fidelity[1] for t in TEAMS]).statistic)
    assert lpips.kendall == pytest.approx(stats.kendalltau(opinion, [t.fidelity[1] for t in TEAMS]).statistic)
    assert (psnr.runs, psnr.metric) == (9, "PSNR")


def test_few_runs_are_warned_of_and_too_few_have_no_correlation():
    runs = [line(str(i), 20.0 + i, opinion=mos(3 - i / 10)) for i in range(12)]
    of = {n: "\n".join(opinions_markdown(runs[:n], METRICS, [])) for n in (2, 3, 9, 12)}
    assert all(("These are few runs" in text) == (n < 10) for n, text in of.items())
    cells = {n: {row[0]: row[1:] for row in agreement_cells(agreements(runs[:n], METRICS))} for n in of}
    assert cells[12] == {"MOS with": ANY, "PSNR": ["+1.00", "+1.00", "12"], "LPIPS": ["–", "–", "12"]}
    assert cells[2]["PSNR"] == ["–", "–", "2"]
    assert "fewer than 3 runs have both, or all have the same value" in of[12]  # LPIPS is the same for all


def test_runs_without_opinion_or_score_are_no_points():
    runs = [line(str(i), 20.0 + i, opinion=mos(3 - i / 10)) for i in range(4)]
    runs += [line("unrated", 10.0), line("broken", float("nan"), opinion=mos(0.0))]
    psnr, _ = agreements(runs, METRICS)
    assert (psnr.runs, psnr.spearman) == (4, 1)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_of_any_kind_are_found_and_stay_text(study, name):
    ratings = read_ratings(study({name: 2, f"<b>{name}": 3}))
    lines, notes = rated([line(name, 24.0, folder="x")], ratings)
    assert lines[0].opinion.mos.mean == 2
    assert len(notes) == 1
    text = opinions_markdown(lines, METRICS, notes)[-1]
    assert "<b>" not in text
    assert "\x1b" not in text
    assert text.count("\n- ") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run,mean\na,1\n", "no mos.csv of `lensblend survey score`: it has no column `method`"),
        ("method,mos,low,high,images\na,x,,,3\n", "of 'a' it says a mos of 'x' (0 to 4) over '3' images"),
        ("method,mos,low,high,images\na,5,,,3\n", "a mos of '5'"),
        ("method,mos,low,high,images\na,nan,,,3\n", "a mos of 'nan'"),
        ("method,mos,low,high,images\na,1,,,0\n", "over '0' images"),
        ("method,mos,low,high,images\na,1\n", "is damaged"),
        ("method,mos,low,high,images\na,1,,,3\na,2,,,3\n", "has 'a' twice"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, text, said):
    (tmp_path / "mos.csv").write_text(text)
    with pytest.raises(DataError) as refused:
        read_ratings(tmp_path / "mos.csv")
    assert said in str(refused.value)


def test_a_missing_file_is_a_wrong_request(tmp_path):
    with pytest.raises(RequestError, match=r"`--ratings` .* does not exist; give the mos.csv"):
        read_ratings(tmp_path / "mos.csv")
