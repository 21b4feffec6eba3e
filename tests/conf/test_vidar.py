"""The five members of VIDAR's ensemble, their phases and their loss fit together."""

import pytest
import torch
import yaml

from lensblend.cli.config import config_folder
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS


def read(name):
    return yaml.safe_load((config_folder() / name).read_text())


def test_each_phase_trains_one_member_and_all_are_trained():
    with torch.device("meta"):
        network = build(read("model/ensemble_vidar.yaml"), "model", *MODELS)
    members = {f"members.{index}" for index in range(len(network.members))}
    schedule = read("schedule/vidar.yaml")
    trained = [schedule["phases"][name]["trainable"] for name in schedule["run"]]
    assert sorted(trained) == [[member] for member in sorted(members)]
    assert {".".join(name.split(".")[:2]) for name, _ in network.named_parameters()} == members


def test_a_member_is_trained_as_it_is_alone():
    alone = read("schedule/attention_unet.yaml")["phases"]["phase1"]
    for phase in read("schedule/vidar.yaml")["phases"].values():
        assert {key: value for key, value in phase.items() if key != "trainable"} == alone


def test_the_members_are_the_usual_network_at_three_widths():
    with torch.device("meta"):
        single = build(read("model/attention_unet.yaml"), "model", *MODELS)
        network = build(read("model/ensemble_vidar.yaml"), "model", *MODELS)
    sizes = [sum(p.numel() for p in member.parameters()) for member in network.members]
    assert sizes[:3] == [sum(p.numel() for p in single.parameters())] * 3 == [13_350_488] * 3
    assert sizes[3] < sizes[0] < sizes[4]


@pytest.mark.parametrize(("term", "weight"), [("mse", 1.0), ("dssim", 0.1), ("vgg", 0.01), ("gradient", 0.1)])
def test_every_term_holds_at_all_sizes(term, weight):
    loss = read("loss/vidar.yaml")
    full, coarse = loss[term], loss[f"{term}_pyramid"]
    assert (full["weight"], full["compares"]) == (weight, "bokeh")
    assert (coarse["weight"], coarse["compares"], coarse["decay"]) == (weight, "pyramid", 0.5)
    assert full["loss"] == coarse["loss"]
