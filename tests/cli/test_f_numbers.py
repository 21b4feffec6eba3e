"""A network that is told f-numbers: rendered, exported, evaluated and compared at each."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from lensblend.comparison.tables import f_number_table
from lensblend.data.scenes import Scenes
from lensblend.inference.evaluation import by_f_number
from lensblend.inference.pixels import render_pixels
from lensblend.metrics.fidelity import Psnr
from lensblend.runs.checkpoints import describe, load_network
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.runs.safetensors_files import write_network

NODE = {
    "_target_": "lensblend.networks.aperture_blend.ApertureBlend",
    "backbone": {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16},
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 9]},
    "f_numbers": [2, 8],
}
SCENES = {
    "_target_": "lensblend.data.scenes.Scenes",
    "image_size": [32, 48],
    "length": 2,
    "val_length": 3,
    "f_numbers": [2, 8],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = build(NODE, "model", *MODELS)
    torch.nn.init.normal_(network.modulation[-1].weight, std=0.3)
    config = {"seed": 0, "schedule": {"run": ["phase1"]}, "data": SCENES}
    path = tmp_path_factory.mktemp("told") / "told.safetensors"
    write_network(network.state_dict(), describe(NODE, "phase1", [32, 48], config, {}), path)
    return path


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def expected(model, photo, f_number):
    network = load_network(model).network.at_f_number(f_number)
    return render_pixels(network, np.asarray(Image.open(photo)), (32, 48), "photo", {}).bokeh


def test_render_tells_the_network_the_f_number(in_process, model, photo, tmp_path):
    outputs = {}
    for given, f_number, said in (
        ([], 2, "Rendered at f/2, the widest of what .* f/2 to f/8; `--f-number N` asks for another"),
        (["--f-number", "5.6"], 5.6, ""),
        (["--f-number", "11"], 11, "f/11 is outside of what .* was trained at, f/2 to f/8"),
    ):
        output = tmp_path / f"{f_number}.png"
        done = in_process("render", photo, "--model", model, "--output", output, "--json", *given)
        assert done.code == 0, done.err
        assert json.loads(done.out)["settings"]["f_number"] == f_number
        assert (said != "") == ("trained at" in done.err)
        outputs[f_number] = np.asarray(Image.open(output))
        np.testing.assert_array_equal(outputs[f_number], expected(model, photo, f_number))
    assert not np.array_equal(outputs[2], outputs[5.6])


@pytest.mark.slow
def test_the_engine_computes_the_backbone_and_the_f_number_stays(in_process, model, photo, tmp_path):
    output = tmp_path / "out.png"
    flags = ("--f-number", "4", "--engine", "onnx")
    done = in_process("render", photo, "--model", model, "--output", output, *flags)
    assert done.code == 0, done.err
    far = np.abs(np.asarray(Image.open(output)).astype(int) - expected(model, photo, 4))
    assert far.max() <= 1


@pytest.mark.slow
def test_a_graph_renders_at_the_one_f_number_it_was_written_for(in_process, model, photo, tmp_path):
    import onnxruntime

    given = np.asarray(Image.open(photo), np.float32).transpose(2, 0, 1)[None] / 255
    for flags, f_number in ((["--f-number", "4"], 4), ([], 2)):
        output = tmp_path / f"{f_number}.onnx"
        done = in_process("export", model, "--format", "onnx", "--output", output, "--photo-size", "64x96", *flags)
        assert done.code == 0, done.err
        assert f" at f/{f_number};" in done.out + done.err
        (bokeh,) = onnxruntime.InferenceSession(output).run(["bokeh"], {"photo": given})
        levels = np.rint(255 * bokeh[0].transpose(1, 2, 0))
        assert np.abs(levels - expected(model, photo, f_number)).max() <= 1


def test_a_published_file_holds_all_of_it(in_process, model, photo, tmp_path):
    output = tmp_path / "again.safetensors"
    done = in_process("export", model, "--output", output)
    assert done.code == 0, done.err
    np.testing.assert_array_equal(expected(output, photo, 5.6), expected(model, photo, 5.6))
    refused = in_process("export", model, "--output", tmp_path / "other.safetensors", "--f-number", "4")
    assert refused.code == 2
    assert "`--f-number` would have no effect: the network is told one whenever it renders" in refused.err


def test_evaluate_tells_each_pairs_f_number_and_says_the_scores_at_each(in_process, model, tmp_path):
    flags = ("metrics.lpips=null", "references=true", f"checkpoint={model}", f"output={tmp_path}")
    done = in_process("evaluate", *flags)
    assert done.code == 0, done.err
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = Scenes(**{k: v for k, v in SCENES.items() if k != "_target_"}).split("val")
    network = load_network(model).network
    at = {}
    for index, row in enumerate(rows):
        pair = pairs.load(index)
        assert float(row["f_number"]) == pytest.approx(pair.f_number, rel=1e-6)
        bokeh = render_pixels(network.at_f_number(pair.f_number), pair.photo, (32, 48), "network", {}).bokeh
        assert float(row["psnr"]) == pytest.approx(peak_signal_noise_ratio(pair.target, bokeh), abs=0.01)
        at[f"f/{pair.f_number:.3g}"] = float(row["psnr"])
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert {group: row["psnr"] for group, row in content["f_numbers"].items()} == pytest.approx(at, rel=1e-6)
    assert sum(row["count"] for row in content["f_numbers"].values()) == 3
    assert all(f"| {group} " in done.out + done.err for group in at)


def test_evaluate_refuses_pairs_of_which_nobody_knows_it(in_process, model, tmp_path):
    data = ["data=embedded", "data.aperture=0.0", "data.image_size=[32,48]", "data.val=1"]
    done = in_process("evaluate", f"checkpoint={model}", f"output={tmp_path}", "metrics.lpips=null", *data)
    assert done.code == 1
    assert "has no f-number, which ApertureBlend is to be told; take data that knows it" in done.err


def test_scores_are_grouped_by_f_number_or_by_whole_stops():
    assert by_f_number({"a": 2.2, "b": 2.0, "c": 2.2}) == {"f/2": ["b"], "f/2.2": ["a", "c"]}
    assert by_f_number({}) == {}
    drawn = {str(index): float(n) for index, n in enumerate(np.geomspace(2, 16, 13))}  # two to a stop, and both ends
    groups = by_f_number(drawn)
    assert list(groups) == ["f/2", "f/2.8", "f/4", "f/5.6", "f/8", "f/11", "f/16"]
    assert sum(map(len, groups.values())) == 13


def test_a_table_of_runs_has_a_row_for_each_f_number_and_run():
    scores = {"a": {"psnr": 20.0}, "b": {"psnr": 30.0}, "c": {"psnr": 25.0}}
    (table,) = f_number_table(
        {"one": scores, "other": scores}, {"a": 2.0, "b": 2.0, "c": 8.0, "d": 4.0}, {"psnr": Psnr}
    )
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines()[2:]]
    assert rows == [["one, f/2", "25.00"], ["one, f/8", "25.00"], ["other, f/2", "25.00"], ["other, f/8", "25.00"]]
    assert f_number_table({"one": scores}, {"a": 2.0, "b": 2.0, "c": 2.0}, {"psnr": Psnr}) == []
