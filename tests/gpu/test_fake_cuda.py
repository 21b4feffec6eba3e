"""All that a training computes with runs on a GPU, without waiting for it, and repeats where that is asked for.

One more network, prior, loss or metric is tested by being in the tables that there are. Nothing may stay behind on the
CPU, results are in single precision, a step neither waits for the GPU nor copies anything to it, and nothing is used
that has no deterministic algorithm. The GPU is a fake: see `fake_cuda`.
"""

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils._pytree import tree_leaves

from fake_cuda import GPU, fake_gpu, moved, unrepeatable_gradients
from lensblend.cli.config import config_folder, register
from lensblend.losses.adversarial import FeatureMatching, HingeDiscriminator, HingeGenerator
from lensblend.networks.patch_discriminator import MultiscalePatchDiscriminator
from lensblend.nn.kernel_bank import KernelBank
from lensblend.ops.padding import extend
from lensblend.ops.ssim import _Smooth
from lensblend.runs.building import build_loss
from lensblend.runs.instantiate import build
from lensblend.runs.roles import METRIC
from lensblend.training.epoch_means import EpochMeans
from lensblend.training.truths import truths
from networks.test_contract import NETWORKS, ROWS
from priors.test_contract import PRIORS

SLOW = pytest.mark.slow
FP32 = pytest.param(False, id="fp32", marks=SLOW)
BF16 = pytest.param(True, id="bf16")
SIZE = (192, 256)  # the least that all losses take


def image(channels, *size):
    return torch.rand(2, channels, *size, device=GPU)


def tensors(value):
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def autocast(half):
    return torch.autocast("cuda", torch.bfloat16, enabled=half)


def check(watch, *results, doubles=False):
    """Expect results in single precision on the GPU, and nothing done that a step should not do."""
    assert {(tensor.device, tensor.dtype) for tensor in results} == {(GPU, torch.float32)}
    assert (watch.copies, watch.waits, watch.unrepeatable) == ([], [], [])
    assert doubles or watch.doubles == []
    assert unrepeatable_gradients(*results) == set()


@pytest.mark.parametrize("mode", ["train", pytest.param("eval", marks=SLOW)])
@pytest.mark.parametrize("half", [FP32, BF16])
@pytest.mark.parametrize("name", ROWS)
def test_networks(name, half, mode):
    case = NETWORKS[name]
    network, guidance = case.build().train(mode == "train"), case.guidance
    if getattr(network, "f_numbers", None) is not None:
        # They stay on the host, and a tensor without values cannot tell them.
        network, guidance = network.at_f_number(1.5), lambda photo: {}
    with fake_gpu() as watch, autocast(half), torch.set_grad_enabled(mode == "train"):
        photo = image(3, 64, 96)
        check(watch, *tensors(moved(network)(photo, **guidance(photo))))


@pytest.mark.parametrize("half", [FP32, BF16])
@pytest.mark.parametrize("name", PRIORS)
def test_priors(name, half):
    network = PRIORS[name].build()
    with fake_gpu() as watch, autocast(half):
        check(watch, *tensors(moved(network)(image(3, 64, 96))))


@pytest.mark.parametrize("family", ["gaussian", "box", "disk"])
def test_blurs(family):
    bank = KernelBank(family, sizes=[3, 5, 9])
    with fake_gpu() as watch, autocast(True):
        check(watch, bank(image(3, 64, 96).requires_grad_()))


def test_discriminators():
    judge = MultiscalePatchDiscriminator(width=4)
    with fake_gpu() as watch, autocast(True):
        moved(judge)
        real, fake = judge(image(7, 64, 64)), judge(image(7, 64, 64).requires_grad_())
        losses = HingeDiscriminator()(real, fake), HingeGenerator()(fake), FeatureMatching()(real, fake)
        check(watch, *losses)


def compose(*overrides):
    register()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = hydra.compose("train", overrides=["run_dir=somewhere", *overrides])
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def answers():
    """Everything that a network returns and a loss compares."""
    height, width = SIZE
    found = {name: image(3, *SIZE) for name in ("bokeh", "local_bokeh", "global_bokeh", "generated")}
    found |= {name: image(1, *SIZE) for name in ("mask", "saliency_logits", "edge_logits", "log_depth")}
    found |= {"pyramid": [image(3, height // 2, width // 2), image(3, height // 4, width // 4)]}
    found |= {"side_logits": [image(1, *SIZE), image(1, *SIZE)]}
    for tensor in tensors(found):
        tensor.requires_grad_()
    return found


@pytest.mark.parametrize("name", sorted(file.stem for file in (config_folder() / "loss").glob("*.yaml")))
def test_losses(name, vgg19_file):
    nodes = compose("schedule=dmshn", f"loss@schedule.phases.phase1.loss={name}")["schedule"]["phases"]["phase1"][
        "loss"
    ]
    for node in nodes.values():
        if "weights" in node["loss"]:
            node["loss"]["weights"] = vgg19_file
    loss, left_out = build_loss(nodes)
    assert left_out == {}
    with fake_gpu() as watch, autocast(True):
        batch = {"target": image(3, *SIZE)} | {key: image(1, *SIZE) for key in ("saliency", "disparity", "focus")}
        total, parts = moved(loss)(answers(), truths(batch, loss.compares.values()))
        check(watch, total, *parts.values())
    assert total.requires_grad


METRICS = {
    name: node
    for file in (config_folder() / "metrics").glob("*.yaml")
    for name, node in OmegaConf.to_container(OmegaConf.load(file)).items()
    if name not in ("defaults", "lpips", "lpips_vgg", "dists")  # networks without weights
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name):
    metric = build(METRICS[name], name, METRIC)
    channels = 3 if metric.compares == "bokeh" else 1
    with fake_gpu() as watch:
        beside = {name: image(1, 64, 96) for name in metric.beside}
        moved(metric).update(image(channels, 64, 96), image(channels, 64, 96), **beside)
        check(watch, metric.total.float(), metric.extremes, doubles=True)
        assert metric.compute().device == GPU


def test_means_of_an_epochs_losses_are_kept_without_a_wait():
    means = EpochMeans()
    with fake_gpu() as watch:
        for _ in range(2):
            means.add({"loss": image(1, 1, 1).mean(), "l1": image(1, 1, 1).mean()}, 2)
        check(watch, *means.means().values())


@pytest.mark.parametrize("mirrors", [True, False])
def test_gradients_of_our_own(mirrors):
    """The engine does not run on a fake, but what it would call does."""
    with fake_gpu() as watch:
        seen = image(3, 30, 40).requires_grad_()
        result = extend(seen, 3, -1, "reflect") if mirrors else _Smooth.apply(seen, (0.25, 0.5, 0.25))
        gradient = result.grad_fn.apply(torch.rand_like(result))[0]
        check(watch, gradient)
        assert gradient.shape == seen.shape
