"""What a command sets acts or is refused; what presets bring along, and what a sweep's other jobs need, is neither."""

import itertools

import hydra
import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from lensblend.cli.config import config_folder, register
from lensblend.cli.hydra_app import plain
from lensblend.cli.idle import refuse_idle
from lensblend.cli.presets import sweeps_folder
from lensblend.errors import RequestError

MODELS = sorted(file.stem for file in (config_folder() / "model").glob("*.yaml"))
RECIPES = [
    f"{group}={file.stem}" for group in ("baseline", "experiment") for file in (config_folder() / group).glob("*")
]


def written(group, name):
    return "\n".join(
        line.partition("#")[0] for line in (config_folder() / group / f"{name}.yaml").read_text().splitlines()
    )


@pytest.fixture
def checked():
    """Compose a command as Hydra does, and look for what it sets in vain."""

    def check(*overrides, is_job=False):
        register()
        asked = ["run_dir=x", *overrides, *(["hydra.job.num=3"] if is_job else [])]
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = hydra.compose("train", overrides=asked, return_hydra_config=True)
            HydraConfig.instance().set_config(config)
            config = hydra.compose("train", overrides=asked)  # the task's part alone, as a verb is given it
        refuse_idle(overrides, plain(config, leave_out=("resume", "run_dir")), config)

    yield check
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("group", "change"), [("kernels", "kernels.scale=0.5"), ("backbone", "backbone=resnet18")])
def test_a_group_acts_where_the_model_names_it_and_is_refused_elsewhere(checked, model, group, change):
    base = {"edge_guided_residual_rgb": "edge_guided_residual", "aperture_blend": "depth_blend"}.get(model, model)
    if f"${{{group}}}" in written("model", base):
        checked(f"model={model}", change)
    else:
        with pytest.raises(RequestError, match=rf"would have no effect: model={model} has no {group}; leave it out"):
            checked(f"model={model}", change)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_recipe_brings_along_is_nobodys_command(checked, recipe):
    checked(recipe, *(["data.root=x"] if recipe == "experiment=photos" else []))


@pytest.mark.parametrize("file", sorted(sweeps_folder().glob("*.yaml")), ids=lambda file: file.stem)
def test_every_point_of_a_preset_uses_what_it_sets(checked, file):
    spans = {
        key: span.get("values", [span.get("value")])
        for key, span in yaml.safe_load(file.read_text())["parameters"].items()
    }
    points = list(itertools.product(*spans.values()))
    assert points
    for point in points:
        checked(*(f"{key}={value}".replace("'", "") for key, value in zip(spans, point, strict=True)))


def test_a_job_of_a_sweep_is_told_and_goes_on(checked, capsys, monkeypatch):
    documented = ["baseline=dbsi", "saliency.weights=SCRN"]
    with pytest.raises(RequestError, match="nothing here asks for saliency"):
        checked(*documented)
    checked("baseline=scrn", "saliency.weights=SCRN")
    checked(*documented, is_job=True)
    assert capsys.readouterr().out == (
        "`saliency.weights=SCRN` has no effect in this job: nothing here asks for saliency; leave it out, or choose a "
        "network that takes it, such as model=saliency_blend, or a loss or metric that compares it.\n"
    )
    monkeypatch.setenv("WANDB_SWEEP_ID", "x")
    checked(*documented)


def test_a_value_of_a_phase_acts_unless_the_phase_is_not_trained_or_another_key_decides(checked):
    checked("schedule.phases.phase1.lr=1e-4", "schedule.run=[phase1]")
    checked("schedule.phases.phase1.batch_size=1", "debug=smoke")  # what is checked is not what is replaced
    checked("experiment=aim2019", "schedule.phases.phase1.batch_size=1", "schedule.every_phase.batch_size=null")
    checked("schedule.phases.phase2.lr=1e-4", "~schedule.phases.phase3", "schedule.run=[phase2]")
    with pytest.raises(RequestError, match=r"phase2 is not in schedule.run, which is \[phase1\]"):
        checked("schedule.phases.phase2.lr=1e-4", "schedule.run=[phase1]")
    with pytest.raises(RequestError, match=r"schedule.every_phase.batch_size decides for every phase"):
        checked("experiment=aim2019", "schedule.phases.phase1.batch_size=1")


def test_what_is_set_to_nothing_is_not_missed(checked):
    checked("saliency.weights=null", "disparity.weights=null")


def test_whatever_takes_up_a_group_lets_it_act(checked):
    checked("model=dmshn", "+callbacks.own.kernels=${kernels.sizes}", "kernels.sizes=[25]")


def test_a_data_set_that_asks_for_a_map_is_a_use_of_it(checked):
    source = ["saliency=onnx", "saliency.path=x.onnx"]
    checked("data=photos", "data.root=x", *source)
    with pytest.raises(RequestError, match="nothing here asks for saliency"):
        checked(*source)
