from pathlib import Path
from xml.etree import ElementTree

import pytest

from lensblend.comparison.curves import curves_sections, read_curves
from lensblend.comparison.rows import rows_of
from lensblend.comparison.runs import Entry
from lensblend.errors import DataError
from lensblend.metrics.fidelity import Psnr

HEAD = "phase,epoch,step,train/loss,val/lpips,val/psnr\n"
TWO_PHASES = HEAD + "phase1,0,9,0.5,,\nphase1,0,9,,0.4,20\nphase1,1,19,,0.3,22\nphase2,0,4,0.2,0.35,21\n"
NODES = {"lpips": {"_target_": "lensblend.metrics.perceptual.Lpips"}}


def run(folder, text, seed=0, sizes=(75,), phase="phase2"):
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "metrics.csv").write_text(text)
    return Entry(Path(folder), phase, {"seed": seed, "sizes": list(sizes), "metrics": NODES}, ())


def sections(entries, labels, **metrics):
    return curves_sections(entries, labels, rows_of(entries, labels), metrics)


def test_epochs_are_counted_through_the_phases(tmp_path):
    run(tmp_path / "a", TWO_PHASES)
    curves = read_curves(tmp_path / "a")
    assert curves["psnr"].points == ((1, 20.0), (2, 22.0), (3, 21.0))
    assert curves["psnr"].phases == (("phase1", 0), ("phase2", 2))
    assert curves["lpips"].points == ((1, 0.4), (2, 0.3), (3, 0.35))
    assert read_curves(tmp_path) == {}


@pytest.mark.parametrize("text", ["phase,step\nx,1\n", HEAD + "phase1,zero,9,,,20\n", HEAD + 'phase1,"0\n'])
def test_a_damaged_file_is_said_and_stops_nothing(tmp_path, text):
    entries = [run(tmp_path / "a", TWO_PHASES), run(tmp_path / "b", text, 1)]
    with pytest.raises(DataError, match=r"metrics\.csv is damaged"):
        read_curves(tmp_path / "b")
    (section,) = sections(entries, ["a", "b"], psnr=Psnr)
    assert any("metrics.csv is damaged" in note for note in section.notes)
    assert "Without a metrics.csv that holds scores: b." in section.notes


def test_each_score_has_a_drawing_that_says_what_it_shows(tmp_path):
    hostile = '<script>"&'
    entries = [run(tmp_path / "a", TWO_PHASES), run(tmp_path / "b", TWO_PHASES.replace("20\n", "20.5\n"), 1)]
    entries.append(run(tmp_path / "c", TWO_PHASES.replace("22\n", "nan\n"), 0, (25,)))
    (section,) = sections(entries, ["a", "b", hostile], psnr=Psnr)
    assert [drawing.title for drawing in section.drawings] == ["PSNR ↑", "LPIPS ↓"]
    svg = ElementTree.fromstring(str(section.drawings[0].svg))
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == (f"PSNR over epochs: a from 20 to 21; b from 20.5 to 21; {hostile} from 20 to 21.")
    lines = svg.findall(".//polyline")
    assert [g.find("title").text for g in svg.findall("g")] == ["a", "b", hostile]
    # Seeds of one row share a colour and differ in their dashes.
    looks = [(line.get("stroke"), line.get("stroke-dasharray")) for line in lines]
    assert looks[0][0] == looks[1][0] != looks[2][0]
    assert len(set(looks)) == 3
    # Larger is higher: the last epoch but one is the best, and upwards is towards 0.
    xs, ys = zip(*([float(v) for v in point.split(",")] for point in lines[0].get("points").split()), strict=True)
    assert list(xs) == sorted(xs)
    assert ys[1] < ys[2] < ys[0]
    assert len(lines[2].get("points").split()) == 2
    # One boundary of phases, after two of three epochs.
    (phase,) = svg.findall("line[@class='phase']")
    assert float(phase.get("x1")) == pytest.approx((xs[1] + xs[2]) / 2)
    assert len(section.drawings[0].legend) == 3


def test_the_numbers_are_there_to_be_read(tmp_path):
    (section,) = sections([run(tmp_path / "a", TWO_PHASES)], ["a"], psnr=Psnr)
    (table,) = section.details
    assert [[cell.text for cell in row] for row in table] == [
        ["", "score", "best", "at epoch", "last", "epochs"],
        ["a", "PSNR", "22", "2", "21", "3"],
        ["a", "LPIPS", "0.3", "2", "0.35", "3"],
    ]


def test_phases_of_a_run_share_their_curves_and_runs_without_any_have_no_section(tmp_path):
    one = run(tmp_path / "a", TWO_PHASES)
    other = Entry(one.run_dir, "phase1", one.config, ())
    (section,) = sections([other, one], ["phase1", "phase2"], psnr=Psnr)
    assert [name for name, _ in section.drawings[0].legend] == ["a"]
    assert sections([run(tmp_path / "b", None)], ["b"], psnr=Psnr) == []
