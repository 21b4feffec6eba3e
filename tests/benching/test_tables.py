"""Rows as CSV, Markdown and JSON: what was measured, ratios to the first, and reasons of what was not."""

import csv
import io
import json

from lensblend.benching.cases import Case, Measured, Row, System
from lensblend.benching.report import write_systems
from lensblend.benching.scores import Scores
from lensblend.benching.tables import COLUMNS, csv_text, markdown, values_of

FOUND = Measured("CPU, 1 thread", "cpu", (64, 96), (32, 48), 9.0, (1.0, 2.0, 3.0), 2**30, 1234, 3 * 10**9, 5 * 10**6)
A, B = System("a|b", model="a.ckpt"), System("b", node={})
ROWS = [
    Row(Case(A, (64, 96)), FOUND),
    Row(Case(A, (64, 96), batch=4), FOUND),
    Row(Case(B, (64, 96), engine="onnx", precision="bf16"), reason="`engine` onnx computes in fp32"),
]


def test_ratios_are_of_seconds_a_photo_to_the_first_row():
    values = values_of(ROWS)
    assert [row["ratio"] for row in values] == [1.0, 0.25, None]
    assert [row["photos_per_second"] for row in values] == [0.5, 2.0, None]
    assert [tuple(row) for row in values] == [COLUMNS] * 3
    assert values_of([ROWS[2], ROWS[0]])[1]["ratio"] is None


def test_a_row_says_what_was_measured():
    (row,) = values_of(ROWS[:1])
    expected = {"system": "a|b", "model": "a.ckpt", "device": "cpu", "height": 64, "network_width": 48, "batch": 1}
    expected |= {"first_seconds": 9.0, "seconds": 2.0, "min_seconds": 1.0, "max_seconds": 3.0, "iqr_seconds": 1.0}
    expected |= {"peak_bytes": 2**30, "parameters": 1234, "macs": 3 * 10**9, "bytes": 5 * 10**6, "reason": None}
    assert expected.items() <= row.items()


def test_the_csv_reads_back_with_empty_cells_for_what_is_not_known():
    rows = list(csv.DictReader(io.StringIO(csv_text(values_of(ROWS)))))
    assert rows[0]["system"] == "a|b"
    assert rows[2]["seconds"] == ""
    assert rows[2]["reason"] == ROWS[2].reason


def test_the_page_names_what_was_not_measured_with_its_reason():
    text = markdown(ROWS)
    assert "a\\|b" in text
    assert "Not measured:\n\n- b, auto onnx bf16, 64×96, batch 1: `engine` onnx computes in fp32" in text
    assert markdown(ROWS[2:]).startswith("Not measured:")
    assert "Not measured" not in markdown(ROWS[:2])


def test_all_files_of_a_measurement_agree_and_replace_an_earlier_ones(tmp_path):
    about = {"machine": "a pipe | dream", "command": "lensblend bench"}
    write_systems(ROWS, Scores("psnr", {"a|b": 30.0}), about, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bench.csv", "bench.json", "bench.md", "chart.png"]
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["about"] == {"computed on": "CPU, 1 thread", **about}
    assert content["rows"] == values_of(ROWS)
    page = (tmp_path / "bench.md").read_text("utf-8")
    assert "| machine | a pipe \\| dream |" in page
    assert "| command | `lensblend bench` |" in page
    assert "![chart](chart.png)" in page
    write_systems(ROWS[2:], None, about, tmp_path)
    assert not (tmp_path / "chart.png").exists()
    assert "chart.png" not in (tmp_path / "bench.md").read_text("utf-8")
