"""``lensblend compare --depth``, as people call it."""

import numpy as np
import pytest

from lensblend.data.images import write_image
from lensblend.runs.checkpoints import describe
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.runs.safetensors_files import write_network


@pytest.fixture
def folders(tmp_path):
    for folder in ("photos", "maps", "others"):
        (tmp_path / folder).mkdir()
    for name in ("p1", "p2", "p10"):
        write_image(tmp_path / "photos" / f"{name}.png", np.full((32, 48, 3), 90, np.uint8))
        for folder in ("maps", "others"):
            write_image(tmp_path / folder / f"{name}.png", np.tile(np.arange(48, dtype=np.uint8) * 5, (32, 1)))
    return tmp_path


def test_estimators_become_a_sheet_a_page_and_a_table(in_process, folders):
    asked = ("--depth", folders / "maps", folders / "others", "--photos", folders / "photos", "--limit", 2)
    done = in_process("compare", *asked, "--truth", folders / "maps", "--output", folders / "out", "--device", "cpu")
    assert done.code == 0, done.err
    assert "depth.png, depth.html, depth.md, depth.csv are in" in done.out
    assert f"- maps: {folders / 'maps'}" in done.out
    table = (folders / "out" / "depth.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [[e, p] for p in ("p1", "p2") for e in ("maps", "others")]


def test_a_depth_network_is_an_estimator(in_process, folders):
    trunk = {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16}
    node = {"_target_": "lensblend.priors.depth_network.DepthNetwork", "backbone": trunk}
    config = {"seed": 0, "schedule": {"run": ["p"]}, "data": {"_target_": "lensblend.data.embedded.Embedded"}}
    file = folders / "depth.safetensors"
    write_network(build(node, "model", *MODELS).state_dict(), describe(node, "p", [32, 48], config, {}), file)
    asked = ("--depth", file, folders / "maps", "--photos", folders / "photos", "--limit", 1)
    done = in_process("compare", *asked, "--output", folders / "out", "--device", "cpu")
    assert done.code == 0, done.err
    page = (folders / "out" / "depth.html").read_text()
    assert "<figcaption>depth.safetensors</figcaption>" in page


def test_a_network_that_estimates_no_depth_is_refused(in_process, folders, tiny_model):
    done = in_process("compare", "--depth", tiny_model, "--photos", folders / "photos", "--output", folders / "out")
    assert done.code == 2
    assert "does not estimate disparity" in done.err
    assert not (folders / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--depth", "--photos", "photos"], "`--depth` names no estimator"),
        (["--depth", "maps"], "required: --photos"),
        (["--depth", "maps", "--photos", "photos", "--limit", "0"], "1 or more, but got '0'"),
        (["--depth", "maps", "--photos", "photos", "--truth", "none"], "`--truth none` is not a folder"),
        (["--depth", "maps", "--photos", "photos", "--table", "1"], "unrecognized arguments: --table 1"),
        (["--depth", "maps", "maps", "--photos", "photos"], "one of them twice"),
    ],
)
def test_wrong_requests_are_answered_with_value_and_remedy(in_process, folders, arguments, said):
    done = in_process("compare", *arguments, cwd=folders)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_help_tells_of_it(in_process):
    assert "--depth --help" in " ".join(in_process("compare", "--help").out.split())
    assert "side by side, map by map" in in_process("compare", "--depth", "--help").out
