from functools import partial

import pytest
import torch

from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.training.instantiate import build


def test_nested_nodes_become_objects():
    built = build({"l1": {"weight": 1.0, "loss": {"_target_": "lensblend.losses.pixel.L1"}}}, "loss")
    assert isinstance(built["l1"]["loss"], L1)


def test_arguments_that_look_like_nodes_are_handed_over_untouched():
    made = build({"_target_": "torch.nn.Identity"}, "net", record={"_target_": "torch.nn.ReLU"})
    assert isinstance(made, torch.nn.Identity)
    node = {"_target_": "torch.nn.Linear", "in_features": 2}
    assert build(node, "net", out_features=3).out_features == 3


def test_partial_nodes_wait_for_their_call():
    assert isinstance(build({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1}, "optimizer"), partial)


@pytest.mark.parametrize(
    "target",
    [
        "builtins.open",
        "os.system",
        "shutil.copyfile",
        "pathlib.Path.write_text",
        "subprocess.run",
        "hydra.utils.instantiate",
        "lensblend.training.files.os.system",
        "torch.load",
        "torch.hub.load",
        7,
    ],
)
def test_targets_off_the_list_are_refused_before_anything_runs(target, tmp_path):
    node = {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": target, "file": str(tmp_path / "made"), "mode": "w"}],
    }
    with pytest.raises(RequestError, match="may not be built"):
        build(node, "model")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "target",
    [
        "lensblend.training.files.os.mkdir",
        "lensblend.training.files.shutil.rmtree",
        "lensblend.data.images.write_image",
    ],
)
def test_what_is_reached_through_an_allowed_package_but_is_no_class_of_it_is_refused(target):
    with pytest.raises(RequestError, match="may not be built"):
        build({"_target_": target}, "model")


def test_an_argument_that_the_target_does_not_take_names_the_nearest():
    with pytest.raises(RequestError, match=r"backbone.decoder_chanels.*did you mean `decoder_channels`"):
        build({"_target_": "lensblend.backbones.timm_pyramid.TimmPyramid", "decoder_chanels": 8}, "backbone")


def test_an_unknown_target_is_named():
    with pytest.raises(RequestError, match="cannot be found"):
        build({"_target_": "lensblend.networks.depth_blend.DepthBland"}, "model")


def test_a_constructors_own_message_reaches_the_user():
    with pytest.raises(RequestError, match="25, 44"):
        build({"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [25, 44]}, "kernels")
