"""Every configuration composes, resolves, and names only what exists."""

from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from lensblend.cli.config import config_folder, register
from lensblend.runs.building import build_loss, metric_classes
from lensblend.runs.instantiate import build
from lensblend.runs.roles import LOSS, MODELS
from lensblend.training.phases import Schedule, monitored
from lensblend.training.truths import RENDERINGS

FOLDER = config_folder()
GROUPS = (
    "data",
    "kernels",
    "backbone",
    "model",
    "saliency",
    "disparity",
    "focus",
    "module",
    "schedule",
    "metrics",
    "trainer",
    "callbacks",
    "logger",
    "debug",
)
PATHS = {
    "data=ebb": ["data.root=x"],
    "data=folder": ["data.photos=a", "data.targets=b"],
    "data=masks": ["data.photos=a", "data.masks=b"],
    "data=photos": ["data.root=x"],
    "data=realbokeh": ["data.root=x"],
    "experiment=photos": ["data.root=x", "backbone.weights=null"],
    "saliency=file": ["saliency.folder=a"],
    "disparity=file": ["disparity.folder=a"],
    "focus=file": ["focus.folder=a"],
    "saliency=onnx": ["saliency.path=a"],
    "disparity=onnx": ["disparity.path=a"],
    "focus=onnx": ["focus.path=a"],
}


def compose(*overrides):
    register()
    with hydra.initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = hydra.compose("train", overrides=["run_dir=somewhere", *overrides])
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def options(group):
    return [f"{group}={file.stem}" for file in sorted((FOLDER / group).glob("*.yaml"))]


@pytest.mark.parametrize(
    "option", [option for group in (*GROUPS, "baseline", "experiment") for option in options(group)]
)
def test_every_option_composes_and_its_schedule_is_valid(option):
    config = compose(option, *PATHS.get(option, []))
    assert Schedule.from_config(config["schedule"]).run


@pytest.mark.parametrize("option", options("baseline") + options("experiment"))
def test_every_recipe_monitors_metrics_that_it_has(option):
    config = compose(option, *PATHS.get(option, []))
    schedule, metrics = Schedule.from_config(config["schedule"]), metric_classes(config["metrics"])
    assert all(monitored(schedule.phases[name], metrics) in metrics.values() for name in schedule.run)


@pytest.mark.parametrize("option", options("loss"))
def test_every_loss_composes_in_place_of_a_phases_own(option):
    name = option.removeprefix("loss=")
    phase = compose("schedule=dmshn", f"loss@schedule.phases.phase1.loss={name}")["schedule"]["phases"]["phase1"]
    loss, left_out = build_loss(phase["loss"])
    written = OmegaConf.to_container(OmegaConf.load(FOLDER / "loss" / f"{name}.yaml"))
    assert set(written) - {"defaults"} <= set(loss.weights) | set(left_out)
    # Terms on VGG's features are the only ones that need weights.
    assert all("Vgg" in phase["loss"][term]["loss"]["_target_"] for term in left_out)


@pytest.mark.parametrize("kernels", options("kernels"))
def test_every_kernel_set_gives_as_many_maps_as_it_has_kernels(kernels):
    network = build(compose(kernels, "+backbone.width_divisor=16")["model"], "model", *MODELS)
    assert network.head.out_channels == len(network.bank) + 1 == len(network.bank.names)


@pytest.mark.parametrize("backbone", options("backbone"))
def test_every_backbone_carries_the_head(backbone):
    network = build(compose(backbone)["model"], "model", *MODELS)
    assert network.head.in_channels == network.backbone.out_channels


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("csv", ["csv"]),
        ("none", []),
        ("[wandb,tensorboard]", ["csv", "tensorboard", "wandb"]),
        ("[csv,mlflow]", ["csv", "mlflow"]),
        ("[tensorboard,mlflow,wandb]", ["csv", "mlflow", "tensorboard", "wandb"]),
    ],
)
def test_several_loggers_are_chosen_at_once(chosen, expected):
    assert sorted(compose(f"logger={chosen}")["logger"]) == expected


def test_the_default_is_the_published_network():
    network = build(compose("experiment=dbsi")["model"], "model", *MODELS)
    # Dutta 2021 with MegaDepth's hourglass: 5,356,576 in the trunk and 577 for each of the four maps.
    assert sum(p.numel() for p in network.parameters()) == 5_358_884
    assert network.bank.names == ["photo", "gaussian 25", "gaussian 45", "gaussian 75"]


def test_the_default_schedule_is_the_papers():
    phases = Schedule.from_config(compose("experiment=dbsi")["schedule"]).phases
    assert [p.image_size for p in phases.values()] == [[384, 512], [768, 1024], [768, 1024]]
    assert [list(p.loss) for p in phases.values()] == [["l1"], ["l1"], ["negative_ssim"]]
    assert phases["phase1"].lr == 1e-3
    assert phases["phase3"].lr_final == 1e-5
    rates = [rate for p in phases.values() for rate in (p.lr, p.lr_final)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(("baseline", "parameters"), [("dmshn", 5_424_393), ("stacked_dmshn", 10_848_786)])
def test_dmshn_has_its_networks_two_phases_and_losses(baseline, parameters):
    config = compose(f"baseline={baseline}")
    with torch.device("meta"):
        network = build(config["model"], "model", *MODELS)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert config["name"] == baseline
    schedule = Schedule.from_config(config["schedule"])
    assert schedule.run == ["phase1", "phase2"]
    phases = [schedule.phases[name] for name in schedule.run]
    assert [p.image_size for p in phases] == [[1024, 1536], [1024, 1536]]
    weights = [{name: term["weight"] for name, term in p.loss.items()} for p in phases]
    assert weights == [{"l1": 1.0, "dssim": 0.1}, {"ms_ssim": 1.0}]


def test_an_optimizer_for_every_phase_replaces_the_phases_own():
    config = compose("schedule.every_phase.optimizer={_target_:torch.optim.SGD,momentum:0.9}")
    optimizers = [p.optimizer for p in Schedule.from_config(config["schedule"]).phases.values()]
    assert optimizers == [{"_target_": "torch.optim.SGD", "momentum": 0.9}] * 3


def test_smoke_replaces_a_path_of_drops():
    dropping = ["schedule.phases.phase1.lr_path=step", "schedule.phases.phase1.lr_every=20"]
    assert Schedule.from_config(compose(*dropping)["schedule"]).phases["phase1"].lr_every == 20
    phase = Schedule.from_config(compose(*dropping, "debug=smoke")["schedule"]).phases["phase1"]
    assert (phase.max_epochs, phase.lr_path, phase.lr_every) == (1, "cosine", None)


@pytest.mark.parametrize(
    "option", [*options("baseline"), *options("experiment"), "loss@schedule.phases.phase1.loss=ms_ssim"]
)
def test_every_recipe_in_its_smoke_form_can_compute_its_losses(option, vgg19_file):
    config = compose(option, "debug=smoke", *PATHS.get(option, []))
    schedule = Schedule.from_config(config["schedule"])
    for name in schedule.run:
        phase = schedule.phases[name]
        assert (phase.max_epochs, phase.batch_size, phase.crop) == (1, 2, None)
        assert min(phase.image_size) >= 32
        for term, node in phase.loss.items():
            given = {"weights": vgg19_file} if "weights" in node["loss"] else {}
            loss = build({**node["loss"], **given}, term, LOSS)
            channels = 3 if node["compares"] in RENDERINGS else 1
            seen, known = torch.rand(2, 1, channels, *phase.image_size, generator=torch.Generator().manual_seed(0))
            assert loss(seen, known.round() if channels == 1 else known).isfinite()


def test_the_smoke_form_is_no_larger_than_its_losses_need():
    def size(*overrides):
        return compose(*overrides, "debug=smoke")["schedule"]["every_phase"]["image_size"]

    assert size() == [32, 48]
    assert size("baseline=dmshn") == [176, 192]
    assert size("baseline=dmshn", "schedule.every_phase.image_size=[64,96]") == [64, 96]
    # What is wrong is said of its place, and not of this one.
    assert size("schedule.phases.phase1.loss.l1.loss._target_=nowhere.L1") == [32, 48]


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.yaml")), ids=lambda p: str(Path(p).relative_to(FOLDER)))
def test_every_file_opens_with_what_it_is_for(file):
    lines = file.read_text().splitlines()
    first = lines[1] if lines[0] == "# @package _global_" else lines[0]
    assert first.startswith("# ")
