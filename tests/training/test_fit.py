"""What the kinds of fits share, and what each answers."""

import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from lensblend.backbones.hourglass import Hourglass
from lensblend.errors import RequestError
from lensblend.losses.pixel import L1
from lensblend.losses.saliency import BinaryCrossEntropy
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.metrics.fidelity import Psnr
from lensblend.metrics.focus import PsnrIn
from lensblend.metrics.saliency import MeanAbsoluteError
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import BokehNetwork, PriorNetwork, Rendering
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODULE
from lensblend.training.adversarial import Adversarial
from lensblend.training.callbacks.finite_guard import FiniteGuard
from lensblend.training.estimation import Estimation
from lensblend.training.learning_rate import LearningRate
from lensblend.training.restoration import Restoration


class Both(BokehNetwork):
    """Brighter, and what is bright is salient."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, photo):
        logits = self.gain * (photo.mean(1, keepdim=True) - 0.5)
        return Rendering(photo * self.gain, {"saliency_logits": logits})


class Salient(PriorNetwork):
    """What is bright is salient; notes how large each photo was."""

    estimates = ("saliency",)

    def __init__(self):
        super().__init__()
        self.gain, self.seen = nn.Parameter(torch.tensor(0.5)), []

    def forward(self, photo):
        self.seen.append(tuple(photo.shape[-2:]))
        return {"saliency_logits": self.gain * (photo.mean(1, keepdim=True) - 0.5)}


LOSSES = {"l1": ("bokeh", L1), "bce": ("saliency_logits", BinaryCrossEntropy)}


def fit_of(kind, network, *losses, metrics=None, **arguments):
    terms = {name: {"weight": 1.0, "compares": LOSSES[name][0], "loss": LOSSES[name][1]()} for name in losses}
    module = kind(
        network=network,
        loss=WeightedSum(terms),
        metrics=metrics or {},
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        **arguments,
    )
    module.kept = {}
    module.log = lambda name, value, **_: module.kept.update({name: value})
    module.log_dict = lambda values, **_: module.kept.update(values)
    known = {"optimizers": [torch.optim.SGD(network.parameters(), lr=0.1)], "world_size": 1}
    module._trainer = type("Trainer", (), known)()
    return module


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(0)
    photo, target = torch.rand(2, 2, 3, 64, 96, generator=random)
    return {
        "id": ["a", "b"],
        "photo": photo,
        "target": target,
        "saliency": (photo[:, :1] > 0.5).float(),
        "mask": photo[:, :1] > 0.5,
    }


def test_both_kinds_are_siblings():
    assert not issubclass(Estimation, Restoration)
    assert not issubclass(Restoration, Estimation)
    assert issubclass(Adversarial, Restoration)


def test_the_base_itself_is_not_built():
    with pytest.raises(RequestError, match="may not be built there"):
        build({"_target_": "lensblend.training.fit.Fit"}, "module", MODULE)


def test_every_score_of_a_picture_is_of_what_its_metric_compares(batch):
    metrics = {"psnr": Psnr(), "mae": MeanAbsoluteError()}
    module = fit_of(Restoration, Both(), "l1", metrics=metrics)
    one = {name: values[:1] for name, values in batch.items()}
    pictures, scores = module.picture(one)
    assert set(pictures) == {"photo", "target", "bokeh"}
    squared = ((one["photo"] * 0.5).mul(255).round() - one["target"].mul(255).round()).square().mean().item()
    assert scores["psnr"] == pytest.approx(10 * np.log10(255**2 / squared), rel=1e-4)
    probability = torch.sigmoid(0.5 * (one["photo"].mean(1, keepdim=True) - 0.5))
    assert scores["mae"] == pytest.approx((probability - one["saliency"]).abs().mean().item(), rel=1e-3)


def trained(module, batches, *callbacks):
    """Train on batches of floats, once each."""
    del module.log, module.log_dict, module._trainer
    module.on_after_batch_transfer = lambda batch, index: batch
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own
        trainer.fit(module, loader, loader)
    return trainer


def resized(batch, size):
    return {n: interpolate(batch[n], size, mode="bilinear", align_corners=True) for n in ("photo", "saliency")}


def test_every_scale_has_a_step_of_its_own_and_a_batch_counts_once(batch, tmp_path):
    """SCRN's authors step at each scale, on what the step before has left."""
    network = Salient()
    module = fit_of(Estimation, network, "bce", scales=[0.5, 1, 1.5], learning_rate=LearningRate("constant"))
    trainer = trained(module, [batch] * 2, FiniteGuard(tmp_path))
    assert network.seen == [(32, 64), (64, 96), (96, 128)] * 2  # 48 and 144 are rounded half to even
    assert trainer.global_step == 2
    reference = Salient()
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    totals = []
    for _ in range(2):
        losses = []
        for size in ((32, 64), (64, 96), (96, 128)):
            seen = resized(batch, size)
            logits = reference(seen["photo"])["saliency_logits"]
            losses.append(binary_cross_entropy_with_logits(logits, seen["saliency"]))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        totals.append(sum(losses).item())
    assert network.gain.item() == pytest.approx(reference.gain.item(), rel=1e-6)
    logged = trainer.logged_metrics
    assert logged["train/loss"].item() == pytest.approx(np.mean(totals), rel=1e-5)  # of the epoch, which is short
    assert logged["train/bce"].item() == pytest.approx(np.mean(totals) / 3, rel=1e-5)


def test_a_gradient_that_is_not_finite_is_found_at_any_scale(batch, tmp_path):
    module = fit_of(Estimation, Salient(), "bce", scales=[0.5, 1], learning_rate=LearningRate("constant"))
    module.loss = torch.nn.Module()
    module.loss.compares = {"bce": "saliency_logits"}

    def first_scale_is_nan(answer, known):
        total = answer["saliency_logits"].mean() * (torch.nan if known["saliency_logits"].shape[-1] == 64 else 1.0)
        return total, {"bce": total}

    module.loss.forward = first_scale_is_nan
    guard = FiniteGuard(tmp_path, policy="skip", limit=5)
    trained(module, [batch] * 2, guard)
    assert guard.count == 2  # once a batch: the other scale's step is taken
    assert module.network.gain.isfinite()
    assert module.network.gain.item() != 0.5


def test_steps_are_counted_on_where_one_was_taken_for_all_scales(batch):
    """As before: Lightning's own steps; its two counters are in every checkpoint."""
    steps = {"total": {"ready": 7, "completed": 7}, "current": {"ready": 2, "completed": 2}}
    none = {which: dict.fromkeys(counts, 0) for which, counts in steps.items()}
    before = {"epoch_loop.automatic_optimization.optim_progress": {"optimizer": {"step": steps}}}
    several = fit_of(Estimation, Salient(), "bce", scales=[0.5, 1])
    own = "epoch_loop.manual_optimization.optim_step_progress"
    for counted, expected in ((none, 7), ({**none, "total": {"ready": 3, "completed": 3}}, 3)):
        checkpoint = {"loops": {"fit_loop": {**before, own: counted}}}
        several.on_load_checkpoint(checkpoint)
        assert checkpoint["loops"]["fit_loop"][own]["total"]["completed"] == expected
    several.on_load_checkpoint({})  # of another kind


def test_one_scale_is_trained_as_any_other_network(batch):
    module = fit_of(Estimation, Salient(), "bce", scales=[0.5])
    total = module.training_step(batch, 0)
    assert module.automatic_optimization
    small = resized(batch, (32, 64))
    expected = module.loss(module.answer(small), {"saliency_logits": small["saliency"]})[0]
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert total.requires_grad
    assert module.kept["lr"] == 0.1


def test_a_prior_is_pictured_beside_its_truth(batch):
    pictures, _ = fit_of(Estimation, Salient(), "bce").picture({n: values[:1] for n, values in batch.items()})
    assert list(pictures) == ["photo", "saliency: truth", "saliency"]


def test_f_numbers_stay_on_the_host(batch):
    module = fit_of(Restoration, Both(), "l1")
    moved = module.transfer_batch_to_device({**batch, "f_number": torch.tensor([2.0])}, torch.device("meta"), 0)
    assert {name: tensor.device.type for name, tensor in moved.items() if name in ("photo", "f_number")} == {
        "photo": "meta", "f_number": "cpu",
    }  # fmt: skip


def test_where_nothing_is_trained_a_step_only_logs(batch):
    module = fit_of(Restoration, Both().requires_grad_(False), "l1")
    assert module.training_step(batch, 0) is None
    assert {"train/loss", "train/l1"} == set(module.kept)


def averaged(module):
    return torch.optim.swa_utils.AveragedModel(module)


def double_averaged(module):
    return averaged(averaged(module))


class Holder(nn.Module):
    """Holds another module beside a weight of its own."""

    def __init__(self, module):
        super().__init__()
        self.network, self.own = module, nn.Parameter(torch.zeros(1))


WRAPPERS = {
    "none": lambda module: module,
    "an average": averaged,
    "an average of an average": double_averaged,
    "a list": lambda module: nn.ModuleList([module]),
    "a holder with a name of ours": Holder,
    "torch.compile": lambda module: torch.compile(module, backend="eager"),
    "a compiled average": lambda module: torch.compile(averaged(module), backend="eager"),
}


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(6, 1, 1)


def adversarial(**arguments):
    return Adversarial(
        discriminator=Judge(),
        discriminator_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        discriminator_loss=nn.Identity(),
        generator_loss=nn.Identity(),
        feature_loss=nn.Identity(),
        **arguments,
    )


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("kind", [Restoration, adversarial])
def test_a_state_goes_back_to_where_it_came_from_through_any_wrapper(kind, wrapper):
    first, second = (WRAPPERS[wrapper](fit_of(kind, Both(), "l1", metrics={"psnr": Psnr()})) for _ in range(2))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.fill_(0.25)
    state = first.state_dict()
    assert not [key for key in state if "discriminator" in key or "_scores" in key or "network.network" in key]
    second.load_state_dict({key: value.clone() for key, value in state.items()}, strict=True)
    again = second.state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_a_state_has_the_networks_own_keys_and_strangers_are_refused():
    module = fit_of(Restoration, Both(), "l1", metrics={"psnr": Psnr()})
    assert list(module.state_dict()) == ["gain"] == list(module.network.state_dict())
    assert list(module.state_dict(prefix="x.")) == ["x.gain"]
    for wrong in ({}, {"gain": torch.ones(()), "other": torch.ones(())}):
        with pytest.raises(RuntimeError, match=r"(Missing|Unexpected) key"):
            module.load_state_dict(wrong)
    found = module.load_state_dict({"other": torch.ones(())}, strict=False)
    assert (len(found.missing_keys), len(found.unexpected_keys)) == (1, 1)


def test_scores_do_not_depend_on_the_validation_batch(batch):
    """Why a validation can take one whole photo at a time, whatever is trained on."""
    both, one = (fit_of(Restoration, Both(), "l1", metrics={"psnr": Psnr()}) for _ in range(2))
    both.validation_step(batch, 0)
    for index in range(2):
        one.validation_step({name: value[index : index + 1] for name, value in batch.items()}, index)
    for module in (both, one):
        module.on_validation_epoch_end()
    assert one.kept["val/psnr"] == pytest.approx(float(both.kept["val/psnr"]), rel=1e-6)
    expected = (batch["photo"] * 0.5 - batch["target"]).abs().mean().item()
    for name in ("val/loss", "val/loss/l1"):
        assert [float(module.kept[name]) for module in (both, one)] == pytest.approx([expected] * 2, rel=1e-5)


def test_a_metric_of_what_is_in_focus_is_given_the_batchs_map(batch):
    module = fit_of(Restoration, Both(), "l1", metrics={"psnr_in": PsnrIn()})
    focus = (batch["photo"][:, :1] > 0.3).float()
    focus[1] = 0  # nothing in focus: no part in the mean
    module.validation_step({**batch, "focus": focus}, 0)
    module.on_validation_epoch_end()
    error = ((batch["photo"][0] * 0.5).mul(255).round() - batch["target"][0].mul(255).round()).square().mean(dim=0)
    expected = 10 * np.log10(255**2 / error[focus[0, 0] > 0].mean().item())
    assert float(module.kept["val/psnr_in"]) == pytest.approx(expected, rel=1e-5)
    # A picture of a training pair, which comes without the map, is drawn without the score.
    assert module.picture({name: values[:1] for name, values in batch.items()})[1] == {}


def kept_by_a_step(**arguments):
    """The loss of a training step, and the bytes that it keeps for the gradients beside the weights."""
    torch.manual_seed(0)
    network = DepthBlend(Hourglass(width_divisor=16), KernelBank(sizes=[3]))
    module, sizes = fit_of(Restoration, network, "l1", **arguments), {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def keep(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    photo, target = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = module.training_step({"photo": photo, "target": target}, 0)
    return loss.item(), sum(size for place, size in sizes.items() if place not in weights)


def test_activations_are_kept_or_where_asked_computed_again():
    (loss, kept), (same, fewer) = kept_by_a_step(), kept_by_a_step(checkpoint_activations=True)
    assert same == loss
    assert 2 * fewer < kept


def test_where_activations_cannot_be_computed_again_it_is_said():
    with pytest.raises(RequestError, match="have no effect on Both, which has no blocks that occur more than once"):
        fit_of(Restoration, Both(), "l1", checkpoint_activations=True)
    with pytest.raises(RequestError, match=r"and `module.compile=eager` do not go together"):
        fit_of(Restoration, Both(), "l1", checkpoint_activations=True, compile="eager")
