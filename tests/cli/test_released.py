"""Files of networks' authors through the verbs: scored, rendered with and exported by the name of a baseline alone."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

from lensblend.backbones.hourglass import Hourglass
from lensblend.cli import recipes
from lensblend.cli.released import RELEASED
from lensblend.priors.depth import TRAVERSAL
from released_graphs import Dmshn

CHECKOUT = Path(__file__).parents[2]
EMBEDDED = ("data=embedded", "data.image_size=[64,96]", "limit=2", "metrics.lpips=null")


@pytest.fixture
def narrow(monkeypatch):
    """Let the baselines be narrow and work at 64×96."""
    whole = recipes.recipe

    def changed(baseline, *overrides):
        return whole(baseline, *overrides, "model.width=4", "schedule.every_phase.image_size=[64,96]")

    monkeypatch.setattr(recipes, "recipe", changed)


@pytest.fixture
def graph():
    torch.manual_seed(0)
    return Dmshn(4)


@pytest.fixture
def file(graph, tmp_path):
    path = tmp_path / "dmshn-20-0.pth"
    torch.save({f"module.{name}": tensor for name, tensor in graph.state.items()}, path)
    return path


def as_8_bits(graph, pixels):
    photo = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return (255 * graph.render(photo)[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()


def test_an_authors_file_is_scored_by_its_networks_name(in_process, narrow, graph, file, tmp_path):
    done = in_process("evaluate", f"checkpoint={file}", "network=dmshn", *EMBEDDED, f"output={tmp_path}/scored")
    assert done.code == 0, done.err
    with (tmp_path / "scored" / "scores.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    from lensblend.data.embedded import Embedded

    pairs = Embedded(image_size=[64, 96]).split("val")
    for index, row in enumerate(rows):
        pair = pairs.load(index)
        expected = peak_signal_noise_ratio(pair.captured(), as_8_bits(graph, pair.photo))
        assert float(row["psnr"]) == pytest.approx(expected, abs=0.02)
    about = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert (about["network"], about["phase"], about["image_size"]) == ("dmshn", "released", [64, 96])
    assert about["count"] == len(rows) == 2


def test_it_renders_and_once_exported_needs_no_name(in_process, narrow, graph, file, tmp_path, picture):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    done = in_process("render", tmp_path / "photo.png", "-m", file, "--network", "dmshn", "-o", tmp_path / "bokeh.png")
    assert done.code == 0, done.err
    rendered = picture(tmp_path / "bokeh.png")
    assert np.abs(rendered.astype(int) - as_8_bits(graph, pixels)).max() <= 1
    done = in_process("export", file, "--network", "dmshn", "--output", tmp_path / "dmshn.safetensors")
    assert done.code == 0, done.err
    done = in_process("render", tmp_path / "photo.png", "-m", tmp_path / "dmshn.safetensors", "-o", tmp_path / "2.png")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(picture(tmp_path / "2.png"), rendered)


@pytest.mark.slow
def test_several_files_of_one_network_are_averaged(in_process, narrow, file, tmp_path):
    done = in_process(
        "evaluate", f"checkpoint=[{file},{file}]", "network=dmshn", *EMBEDDED, f"output={tmp_path}/scored"
    )
    assert done.code == 0, done.err
    assert "mean of 2" in done.out


@pytest.mark.parametrize(
    ("network", "code", "says"),
    [
        ("dmhsn", 2, "`network` is one of .* but got 'dmhsn'; did you mean 'dmshn'?"),
        ("kaist_viclab", 2, "files of the authors of NonlocalAutoencoder cannot be read"),
        ("stacked_dmshn", 1, r"360 tensors are missing \(first: `net1.encoder_lv1.*\), 180 are unknown .* begin with "),
        ("null", 1, r"does not say which network it holds; where .* network=NAME, or --network NAME \(docs/models/au"),
    ],
)
def test_a_wrong_name_or_none_is_answered_in_a_line(in_process, narrow, file, tmp_path, network, code, says):
    done = in_process("evaluate", f"checkpoint={file}", f"network={network}", *EMBEDDED, f"output={tmp_path}/scored")
    assert done.code == code, done.err
    assert re.search(says, done.err), done.err
    assert done.err.count("\n") == 1


def test_what_needs_no_name_takes_none(in_process, narrow, tiny_model, tmp_path):
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.write_bytes(b"")
    for file, says in (
        (tiny_model, "is a checkpoint of this project, which says itself what it holds; leave `network` out"),
        (checkpoint, "is a checkpoint of this project"),
        (tmp_path / "none.pth", "none.pth does not exist; with `network`, name the file of dmshn's authors"),
        (tmp_path, "is no file; with `network`, name the file"),
    ):
        done = in_process("export", file, "--network", "dmshn", "--output", tmp_path / "a.safetensors")
        assert (done.code, says in done.err) == (2, True), done.err
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    done = in_process("render", tmp_path / "photo.png", "--network", "dmshn")
    assert (done.code, "add `--model FILE`" in done.err) == (2, True), done.err
    done = in_process("evaluate", "predictions=a", "targets=b", "output=o", "network=dmshn", cwd=tmp_path)
    assert (done.code, "`network=dmshn` would have no effect" in done.err) == (2, True), done.err


def test_a_pickled_network_is_told_how_to_save_its_weights(in_process, narrow, tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    done = in_process("export", tmp_path / "whole.pth", "--network", "dmshn", "--output", tmp_path / "a.safetensors")
    assert done.code == 1
    assert "torch.save(model.state_dict(), FILE)" in done.err


def hourglass_file(path, maps):
    """Write random weights in the order of MegaDepth's file, under numbers, with a head of so many maps."""
    torch.manual_seed(0)
    trunk, head = Hourglass(), nn.Conv2d(64, maps, 3, padding=1)
    parts = [trunk.get_submodule(part) for part in TRAVERSAL]
    tensors = [
        (name, tensor) for part in (*parts, head) for name, tensor in part.state_dict().items() if "num_b" not in name
    ]
    torch.save({f"{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(tensors)}, path)


@pytest.mark.slow
def test_the_depth_network_alone_is_no_dbsi(in_process, tmp_path):
    hourglass_file(tmp_path / "best_generalization_net_G.pth", 1)
    done = in_process(
        *("evaluate", f"checkpoint={tmp_path}/best_generalization_net_G.pth", "network=dbsi", *EMBEDDED),
        f"output={tmp_path}/scored",
    )
    assert done.code == 1
    assert "holds a part of dbsi only: 2 of its weights are not in it (first: head.weight)" in done.err


@pytest.mark.slow
def test_dbsi_is_scored_at_its_own_width(in_process, tmp_path):
    hourglass_file(tmp_path / "phase3_best.pth", 4)
    done = in_process(
        *("evaluate", f"checkpoint={tmp_path}/phase3_best.pth", "network=dbsi", *EMBEDDED, "image_size=[64,96]"),
        *("references=true", f"output={tmp_path}/scored"),
    )
    assert done.code == 0, done.err
    about = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert list(about["references"]) == ["photo", "gaussian 25", "gaussian 45", "gaussian 75"]
    assert 5 < about["psnr"] < 60


@pytest.mark.parametrize("baseline", ["dbsi", "dmshn", "stacked_dmshn", *RELEASED])
def test_the_recipe_is_that_of_the_released_code(baseline):
    config = recipes.recipe(baseline, *RELEASED.get(baseline, ()))
    size = config["schedule"]["phases"][config["schedule"]["run"][-1]]["image_size"]
    assert size == ([768, 1024] if baseline == "dbsi" else [1024, 1536])
    for override in RELEASED.get(baseline, ()):
        group, key = override.partition("=")[0].rsplit(".", 1)
        assert group != "model" or key in config["model"]


def test_the_page_has_a_row_for_each_network_that_reads_such_files():
    page = (CHECKOUT / "docs" / "models" / "authors.md").read_text("utf-8")
    for name in ("dbsi", "dmshn", "stacked_dmshn", *RELEASED):
        assert f"network={name}" in page
    for name, overrides in RELEASED.items():
        assert all(override in page for override in overrides if override.startswith("model.")), name
