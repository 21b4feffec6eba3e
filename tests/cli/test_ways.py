"""Flags of `lensblend render` beside a way of rendering that has no use for them: refused, never ignored."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lensblend.cli.controls import controls_of, spelt
from lensblend.cli.render import parser
from lensblend.cli.ways import LENS, NETWORK, PRIOR, WAYS, check_flags, check_network
from lensblend.errors import RequestError
from lensblend.inference.rendering import render_photo
from lensblend.nn.rendering import BokehNetwork, PriorNetwork, Rendering
from lensblend.runs.checkpoints import Trained, describe, load_network
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS
from lensblend.runs.safetensors_files import write_network

TRUNK = {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16}
BANK = {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 5]}
WIDE, DISKS = {**BANK, "sizes": [25]}, {**BANK, "family": "disk"}
NODES = {
    "blend": {"_target_": "lensblend.networks.depth_blend.DepthBlend", "backbone": TRUNK, "bank": BANK},
    "wide": {"_target_": "lensblend.networks.depth_blend.DepthBlend", "backbone": TRUNK, "bank": WIDE},
    "disks": {"_target_": "lensblend.networks.depth_blend.DepthBlend", "backbone": TRUNK, "bank": DISKS},
    "depth": {"_target_": "lensblend.priors.depth_network.DepthNetwork", "backbone": TRUNK},
    "plain": {"_target_": "lensblend.networks.multiscale_hierarchical.MultiscaleHierarchical", "width": 2},
}
GIVEN = {
    LENS: ["--focus-mask", "map.png"],
    "lens at a plane": ["--disparity", "map.png", "--focus-at", "0.5"],
    NETWORK: ["--model", "blend.safetensors"],
    PRIOR: ["--model", "depth.safetensors"],
}
VALUES = {
    "photos": [],
    "allow": ["lensblend"],
    "output": ["out.png"],
    "format": ["png"],
    "quality": ["90"],
    "max_megapixels": ["9"],
    "model": ["blend.safetensors"],
    "network": ["dmshn"],
    "device": ["cpu"],
    "image_size": ["48x64"],
    "engine": ["torch"],
    "precision": ["bf16"],
    "saliency": ["maps"],
    "disparity": ["map.png"],
    "blend_at": ["network"],
    "focus": ["0.5,0.5"],
    "focus_at": ["0.5"],
    "focus_mask": ["map.png"],
    "strength": ["1"],
    "f_number": ["2"],
    "aperture": ["0.1"],
    "blades": ["0"],
    "rotation": ["0"],
    "cats_eye": ["0"],
    "highlights": ["0"],
}


def typed(name):
    """A flag with its value; none of those that only name photos."""
    return [f"--{name.replace('_', '-')}", *VALUES.get(name, [])] if name != "photos" else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo, a map, and three networks with random weights."""
    folder = tmp_path_factory.mktemp("ways")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)).save(folder / "photo.png")
    Image.new("L", (48, 40), 255).save(folder / "map.png")
    for name, node in NODES.items():
        record = describe(node, "phase1", [32, 48], {"schedule": {"run": ["phase1"]}}, {})
        write_network(build(node, "model", *MODELS).state_dict(), record, folder / f"{name}.safetensors")
    return folder


def refusal(in_process, folder, *arguments):
    """The one line with which a request is refused before anything is written."""
    done = in_process("render", "photo.png", "--output", "out.png", *arguments, cwd=folder)
    assert done.code == 2, done.err
    assert len(done.err.splitlines()) == 1
    assert not (folder / "out.png").exists()
    return done.err


def test_every_flag_has_its_ways():
    assert {flag.dest for flag in parser()._actions} - {"help"} == WAYS.keys()


BESIDE = [(name, given) for name, ways in WAYS.items() for given in GIVEN if given.split()[0] not in ways]


@pytest.mark.parametrize(("name", "given"), BESIDE)
def test_a_flag_beside_a_way_that_it_does_not_belong_to_is_refused(in_process, folder, name, given):
    said = refusal(in_process, folder, *GIVEN[given], *typed(name))
    assert spelt([name]).rstrip("`") in said
    # Two of them say nothing without another: blades to turn, disparity to aim at.
    assert "would have no effect" in said or name in ("rotation", "focus_at")


class Every(BokehNetwork):
    """Takes and gives whatever there is."""

    guidance = ("saliency", "disparity")
    estimates = ("disparity",)

    def forward(self, photo, saliency, disparity):
        return Rendering(photo, {"weights": torch.ones_like(photo)})


class Depth(PriorNetwork):
    estimates = ("disparity",)


def held(network):
    return Trained(network, {}, Path("a"), "")


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in WAYS.items() for way in ways])
def test_a_flag_beside_its_own_way_is_taken(name, way):
    given = []
    if way == LENS and name != "focus_mask":
        given = ["--disparity", "map.png"] if name in ("focus", "focus_at") else GIVEN[LENS]
    turned = ["--blades", "6"] if name == "rotation" else []
    arguments = parser().parse_args(["photo.png", *given, *turned, *typed(name)])
    controls = controls_of(arguments)
    assert controls.uses_lens == (way == LENS)
    check_flags(arguments, controls)
    if way != LENS:
        check_network(arguments, held(Every() if way == NETWORK else Depth()))


@pytest.mark.parametrize(
    ("network", "flag", "said"),
    [
        ("blend", ["--saliency", "maps"], "holds DepthBlend, which takes no saliency; leave it out."),
        ("blend", ["--disparity", "map.png"], "takes no disparity; leave it out, or add `--focus X,Y` or `--focus-at"),
        ("blend", ["--depth"], "holds DepthBlend, which predicts no depth; leave it out, or give a depth network's"),
        ("plain", ["--weights"], "holds MultiscaleHierarchical, which blends nothing by weights; leave it out."),
        ("depth", ["--fast"], "holds DepthNetwork, which renders no bokeh; leave it out"),
        ("depth", ["--strength", "2"], "holds DepthNetwork, which renders no bokeh; leave it out"),
    ],
)
def test_what_a_network_has_no_use_for_is_refused(in_process, folder, network, flag, said):
    answer = refusal(in_process, folder, "--model", f"{network}.safetensors", *flag)
    assert f"`{flag[0]}` would have no effect: " in answer
    assert said in answer


@pytest.mark.parametrize(
    ("network", "said"),
    [("disks", "`fast` blurs are Gaussian, but `family` is disk"), ("plain", "blends no blurs that could be faster")],
)
def test_fast_blurs_are_refused_where_there_are_none(in_process, folder, network, said):
    assert said in refusal(in_process, folder, "--model", f"{network}.safetensors", "--fast")


def test_fast_blurs_are_within_a_level_and_the_file_says_so(in_process, folder, tmp_path, picture):
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (64, 96, 3), np.uint8) * 255).save(tmp_path / "photo.png")
    for name, flags in (("exact", []), ("fast", ["--fast", "--json"])):
        where = ["--model", folder / "wide.safetensors", "-o", tmp_path / f"{name}.png"]
        done = in_process("render", tmp_path / "photo.png", *where, *flags)
        assert done.code == 0, done.err
    assert '"fast": true' in done.out
    exact, fast = (picture(tmp_path / f"{name}.png").astype(int) for name in ("exact", "fast"))
    assert abs(exact - fast).max() == 1


def test_fast_blurs_score_alike_and_are_recorded(in_process, folder, tmp_path):
    data = ("data=embedded", "data.image_size=[32,48]", "data.train=1", "data.val=1", "metrics.lpips=null")
    found = []
    for fast in ("false", "true"):
        request = (f"checkpoint={folder / 'wide.safetensors'}", f"output={tmp_path}", f"fast={fast}", *data)
        done = in_process("evaluate", *request)
        assert done.code == 0, done.err
        found.append(json.loads((tmp_path / "metrics.json").read_text()))
    assert [scores["fast"] for scores in found] == [False, True]
    assert found[0]["psnr"] != found[1]["psnr"]
    assert found[0]["psnr"] == pytest.approx(found[1]["psnr"], abs=0.02)


def test_a_network_works_at_the_size_that_is_asked_for_turned_like_the_photo(in_process, folder, tmp_path, picture):
    pixels = np.random.default_rng(2).integers(0, 256, (96, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    model = folder / "blend.safetensors"
    request = ["--model", model, "--image-size", "64x80", "--blend-at", "network", "-o", tmp_path / "out.png", "--json"]
    done = in_process("render", tmp_path / "upright.png", *request)
    assert done.code == 0, done.err
    assert json.loads(done.out)["settings"]["image_size"] == [64, 80]
    expected = render_photo(load_network(model).network, pixels, (80, 64)).bokeh[0].permute(1, 2, 0).numpy()
    assert np.abs(picture(tmp_path / "out.png") - 255 * expected).max() < 1


def test_weights_of_a_network_that_names_none_are_looked_for():
    class Plain(Every):
        def forward(self, photo, saliency, disparity):
            return Rendering(photo, {})

    arguments = parser().parse_args(["photo.png", "--weights"])
    check_network(arguments, held(Every()))
    with pytest.raises(RequestError, match=r"`--weights` would have no effect: a holds Plain, which blends nothing"):
        check_network(arguments, held(Plain()))


def test_quality_and_format_of_a_map_are_heeded_or_refused(in_process, folder, tmp_path):
    sizes = []
    for quality in ("10", "95"):
        request = ["photo.png", "--model", "depth.safetensors", "--quality", quality, "--output"]
        done = in_process("render", *request, tmp_path / f"{quality}.jpg", cwd=folder)
        assert done.code == 0, done.err
        sizes.append((tmp_path / f"{quality}.jpg").stat().st_size)
    assert sizes[0] < 0.8 * sizes[1]
    done = in_process("render", *request, tmp_path / "out", "--format", "jpeg", cwd=folder)
    assert done.code == 2
    assert "`--format jpeg` would have no effect: maps in folders are PNG" in done.err
