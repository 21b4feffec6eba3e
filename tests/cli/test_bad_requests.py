"""Bad requests end with exit code 2 or 1 and one message that names the value and the remedy, without a traceback."""

from pathlib import Path

import pytest
import yaml

REQUESTS = yaml.safe_load(Path(__file__).with_suffix(".yaml").with_stem("bad_requests").read_text())


@pytest.mark.parametrize("bad", REQUESTS, ids=lambda bad: " ".join(bad["request"]))
def test_a_bad_request_is_answered_with_value_and_remedy(in_process, bad, tmp_path):
    training = bad.get("started") and bad["request"][0] == "train"
    arguments = [*bad["request"], *(["debug=smoke"] if training else [])]
    done = in_process(*arguments, cwd=tmp_path)
    assert done.code == 2, done.err
    assert bad["says"] in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("bad", [REQUESTS[0], REQUESTS[-1]], ids=lambda bad: " ".join(bad["request"]))
def test_a_process_of_its_own_answers_alike(lensblend, bad, tmp_path):
    done = lensblend(*bad["request"], cwd=tmp_path)
    assert done.code == 2
    assert bad["says"] in done.err
    assert "Traceback" not in done.err


def test_there_are_enough_of_them_and_no_two_alike():
    said = [tuple(bad["request"]) for bad in REQUESTS]
    assert len(set(said)) == len(said) >= 30


def test_damaged_inputs_are_named(in_process, tmp_path):
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    (tmp_path / "photo.jpg").write_bytes(b"<html>not a photo</html>")
    done = in_process(
        "render", tmp_path / "photo.jpg", "--model", tmp_path / "broken.ckpt", "--output", tmp_path / "out"
    )
    assert done.code == 1
    assert "broken.ckpt cannot be read as a checkpoint" in done.err
    assert "Traceback" not in done.err
    done = in_process("render", tmp_path / "none.jpg", "--model", "m", "--output", tmp_path / "out")
    assert done.code == 2
    assert "none.jpg does not exist" in done.err


@pytest.mark.parametrize(
    "asked", [["train", "run_dir=loop"], ["train", "run_dir=loop/x"], ["evaluate", "checkpoint=a", "output=loop/x"]]
)
def test_links_that_lead_in_a_circle_are_answered_in_a_line(in_process, asked, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    done = in_process(*asked, cwd=tmp_path)
    assert done.code == 1
    assert "could not be written" in done.err
    assert done.err.count("\n") == 1
