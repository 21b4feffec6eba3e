"""A training stopped after any batch, or within a validation, goes on to bitwise the same weights and losses.

The network draws random numbers in every step (dropout), so that it also matters what the global generators hold.
"""

import os
import signal
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import nn

from lensblend.data import pairs
from lensblend.data.pairs import Pair
from lensblend.errors import Interrupted
from lensblend.losses.adversarial import FeatureMatching, HingeDiscriminator, HingeGenerator
from lensblend.losses.pixel import L1
from lensblend.losses.weighted_sum import WeightedSum
from lensblend.metrics.fidelity import Psnr
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.runs.checkpoint_files import copy_checkpoint, read_checkpoint
from lensblend.runs.signals import STOPS
from lensblend.training.adversarial import Adversarial
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.callbacks.progress import PlainProgress
from lensblend.training.callbacks.reseed import Reseed
from lensblend.training.callbacks.weight_average import TRAINED, WeightAverage
from lensblend.training.changes import Consent
from lensblend.training.checkpoint_io import AtomicCheckpointIO
from lensblend.training.datamodule import PairsDataModule
from lensblend.training.interruption import Interruption
from lensblend.training.learning_rate import LearningRate
from lensblend.training.loggers.metrics_csv import MetricsCsv, read_rows
from lensblend.training.phase_run import PhaseRun
from lensblend.training.restoration import Restoration
from lensblend.training.resume import find_stopped

EPOCHS, BATCHES = 3, 4
LAST_STEP = EPOCHS * BATCHES
AVERAGES = {
    "ema": lambda: WeightAverage(EPOCHS, ema=0.9),
    "swa": lambda: WeightAverage(EPOCHS, swa=0.5),
    "Lightning's": lambda: EMAWeightAveraging(decay=0.9),
}


class Pairs(pairs.Pairs):
    """Noise, seven pairs of it: the last batch of an epoch is smaller."""

    def __init__(self, count):
        random = np.random.default_rng(count)
        self.ids = [f"pair{i}" for i in range(count)]
        self._photos = random.integers(0, 256, (count, 2, 8, 12, 3), dtype=np.uint8)

    def load(self, index, epoch=0):
        return Pair(self.ids[index], *self._photos[index])


class Source(pairs.Source):
    def split(self, name):
        return Pairs(7 if name == "train" else 3)


class Dropping(BokehNetwork):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(), nn.Conv2d(8, 3, 1))

    def forward(self, photo):
        return Rendering(torch.sigmoid(self.layers(photo)), {})


class Judge(nn.Module):
    """Two scales of features and logits, with running statistics."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(6, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2))
        self.logits = nn.Conv2d(4, 1, 1)

    def forward(self, images):
        scales = []
        for size in (1, 2):
            features = self.features(nn.functional.avg_pool2d(images, size))
            scales.append([features, self.logits(features)])
        return scales


def adversarial(**arguments):
    return Adversarial(
        discriminator=Judge(),
        discriminator_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.02),
        discriminator_loss=HingeDiscriminator(),
        generator_loss=HingeGenerator(),
        feature_loss=FeatureMatching(),
        **arguments,
    )


class Stop(pl.Callback):
    """Send a real signal to this process in a training batch, or in the validation after it, or at its end."""

    def __init__(self, interruption, batch, in_validation, number):
        self.interruption, self.batch, self.in_validation, self.number = interruption, batch, in_validation, number

    def _signal(self, trainer, wanted):
        if wanted and self.batch == trainer.fit_loop.total_batch_idx + 1:
            with self.interruption, self.interruption.deferred():
                os.kill(os.getpid(), self.number)

    def on_train_batch_end(self, trainer, *_):
        self._signal(trainer, not self.in_validation)

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self._signal(trainer, self.in_validation is True and batch_idx == 1)

    def on_validation_end(self, trainer, *_):
        self._signal(trainer, self.in_validation == "at its end")


def fit(
    run,
    stop=None,
    in_validation=False,
    workers=0,
    accumulate=1,
    validate_every=1,
    batch_size=2,
    val_interval=1.0,
    lr_every=None,
    module_class=Restoration,
    crop=None,
    average=None,
    further=(),
    log_every=1,
    number=signal.SIGTERM,
    background=False,
    **optimizer,
):
    folder, files = run / "phase1", AtomicCheckpointIO()
    stopped = find_stopped(folder, {}, 0, Consent())
    interruption = Interruption()
    torch.manual_seed(3)
    module = module_class(
        network=Dropping(),
        loss=WeightedSum({"l1": {"weight": 1.0, "compares": "bokeh", "loss": L1()}}),
        metrics={"psnr": Psnr()},
        optimizer=lambda parameters: torch.optim.Adam(parameters, **{"lr": 0.01, **optimizer}),
        learning_rate=LearningRate("step" if lr_every else "cosine", 0.1, lr_every),
        record={"network": {}, "phase": "phase1", "config": "{}", "parent": {}},
    )
    data = PairsDataModule(
        Source(),
        (8, 12),
        batch_size,
        seed=5,
        num_workers=workers,
        crop=crop,
        start=stopped.position if stopped else (0, 0, 0),
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        accumulate_grad_batches=accumulate,
        check_val_every_n_epoch=validate_every,
        val_check_interval=val_interval,
        callbacks=[
            Stop(interruption, stop, in_validation, number),
            Reseed(5),
            KeepLastAndBest(folder, "val/psnr", Psnr.beats, interruption, background=background, files=files),
            *([AVERAGES[average]()] if average else []),
            *further,
        ],
        plugins=[files],
        logger=MetricsCsv(PhaseRun(run, "phase1", "group", first_step=stopped.step if stopped else 0)),
        log_every_n_steps=log_every,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=any(isinstance(callback, PlainProgress) for callback in further),
        enable_model_summary=False,
        default_root_dir=folder,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, datamodule=data, ckpt_path=stopped.path if stopped else None, weights_only=True)
    return trainer


def state(run):
    content = read_checkpoint(run / "phase1" / "last.ckpt")
    best = read_checkpoint(run / "phase1" / "best.ckpt")["state_dict"]
    moments = [s for optimizer in content["optimizer_states"] for s in optimizer["state"].values()]
    flat = [*content["state_dict"].values(), *best.values(), *(v for s in moments for v in s.values())]
    flat += content.get("discriminator", {}).values()
    flat += content.get(TRAINED, {}).values()
    return [v.numpy().tobytes() for v in flat], content["global_step"], content["epoch"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs without a stop, by what they were trained with."""
    runs = {}

    def get(**options):
        key = str(options)
        if key not in runs:
            runs[key] = tmp_path_factory.mktemp("whole")
            fit(runs[key], **options)
        return runs[key]

    return get


def is_saved_when_stopped(run, stop, in_validation, options):
    # Not pytest.raises, which would keep the trainer, and its data workers with it.
    try:
        fit(run, stop, in_validation, **options)
    except Interrupted as stopped:
        return stopped.saved
    return False


def check(tmp_path, reference, stops, **options):
    for stop, in_validation in stops:
        assert is_saved_when_stopped(tmp_path, stop, in_validation, options)
    fit(tmp_path, **options)
    assert (tmp_path / "metrics.csv").read_text() == (reference / "metrics.csv").read_text()
    assert state(tmp_path) == state(reference)


@pytest.mark.parametrize("stop", range(1, LAST_STEP))
def test_after_any_batch(tmp_path, whole, stop):
    check(tmp_path, whole(), [(stop, False)])
    position = read_checkpoint(tmp_path / "phase1" / "previous.ckpt")["lensblend"]["position"]
    assert position["batches"] == BATCHES


@pytest.mark.parametrize("stop", [BATCHES, 2 * BATCHES, LAST_STEP])
def test_within_a_validation(tmp_path, whole, stop):
    check(tmp_path, whole(), [(stop, True)])


def test_again_and_again(tmp_path, whole):
    check(tmp_path, whole(), [(2, False), (3, False), (4, True), (4, True), (5, False), (11, False)])


@pytest.mark.parametrize("stop", [1, BATCHES, BATCHES + 2])
def test_where_epochs_are_shorter_than_the_interval_their_means_are_the_same(tmp_path, whole, stop):
    check(tmp_path, whole(log_every=50), [(stop, False)], log_every=50)


@pytest.mark.parametrize("stop", [1, 6])
def test_with_data_workers(tmp_path, whole, stop):
    check(tmp_path, whole(), [(stop, False)], workers=2)


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_with_accumulated_gradients_a_stop_waits_for_the_step(tmp_path, whole, stop):
    check(tmp_path, whole(accumulate=2), [(stop, False)], accumulate=2)


@pytest.mark.parametrize("stop", [3, 4, 5, 9])
def test_with_a_learning_rate_that_drops_between_epochs(tmp_path, whole, stop):
    check(tmp_path, whole(lr_every=2), [(stop, False)], lr_every=2)


@pytest.mark.parametrize("stop", [1, 6])
def test_with_crops(tmp_path, whole, stop):
    check(tmp_path, whole(crop=[4, 6]), [(stop, False)], crop=[4, 6])


@pytest.mark.parametrize(("stop", "in_validation"), [(1, False), (6, False), (8, True)])
def test_with_a_discriminator(tmp_path, whole, stop, in_validation):
    check(tmp_path, whole(module_class=adversarial), [(stop, in_validation)], module_class=adversarial)


@pytest.mark.parametrize("stop", [4, 7, 8])
def test_with_epochs_that_are_not_validated(tmp_path, whole, stop):
    check(tmp_path, whole(validate_every=3), [(stop, False)], validate_every=3)


@pytest.mark.parametrize(
    ("stop", "in_validation"),
    [(1, False), (2, False), (2, True), (2, "at its end"), (4, "at its end"), (6, True), (7, False)],
)
def test_with_validations_within_an_epoch(tmp_path, whole, stop, in_validation):
    check(tmp_path, whole(val_interval=0.5), [(stop, in_validation)], val_interval=0.5)


def test_again_and_again_with_validations_within_an_epoch(tmp_path, whole):
    stops = [(2, True), (3, False), (6, True), (7, False), (8, True), (9, False)]
    check(tmp_path, whole(val_interval=0.5), stops, val_interval=0.5)


@pytest.mark.parametrize(
    ("average", "stop", "in_validation"),
    [
        *[("ema", 6, False), ("ema", 8, True), ("ema", 4, "at its end")],
        *[("swa", 6, False), ("swa", 8, True), ("swa", 9, False)],
        *[("Lightning's", 6, False), ("Lightning's", 8, True), ("Lightning's", 4, "at its end")],
    ],
)
def test_with_an_average_of_the_weights(tmp_path, whole, average, stop, in_validation):
    check(tmp_path, whole(average=average), [(stop, in_validation)], average=average)


def test_again_and_again_with_an_average_validations_within_an_epoch_and_a_discriminator(tmp_path, whole):
    options = {"average": "ema", "val_interval": 0.5, "module_class": adversarial}
    check(tmp_path, whole(**options), [(2, True), (3, False), (6, True), (8, True), (9, False)], **options)


def test_an_average_does_not_keep_a_validation_from_being_stopped(tmp_path):
    class Count(pl.Callback):
        batches = 0

        def on_validation_batch_start(self, *_):
            self.batches += 1

    for average, batches in (("ema", 2), ("Lightning's", 3)):
        count = Count()
        with pytest.raises(Interrupted):
            fit(tmp_path / average, BATCHES, True, average=average, further=[count])
        assert count.batches == batches


def test_with_checkpoints_that_are_written_in_the_background(tmp_path, whole):
    stops = [(2, False), (4, True), (BATCHES + 1, False)]
    check(tmp_path, whole(), stops, background=True)
    assert sorted(p.name for p in (tmp_path / "phase1").glob("*.ckpt")) == ["best.ckpt", "last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("number", STOPS)
def test_every_signal_stops_the_training(tmp_path, number):
    for stop, in_validation in [(3, False), (4, True)]:
        with pytest.raises(Interrupted) as stopped:
            fit(tmp_path, stop, in_validation, number=number)
        assert (stopped.value.signal, stopped.value.saved) == (number.name, True)
        assert read_checkpoint(tmp_path / "phase1" / "last.ckpt")["global_step"] == stop


def test_the_step_that_was_interrupted_is_the_one_that_is_saved(tmp_path):
    for stop, in_validation in [(1, False), (3, False), (4, True), (6, False)]:
        with pytest.raises(Interrupted):
            fit(tmp_path, stop, in_validation)
        assert read_checkpoint(tmp_path / "phase1" / "last.ckpt")["global_step"] == stop


@pytest.mark.parametrize(
    ("stop", "in_validation", "val_interval"),
    [(6, False, 1), (5, False, 1), (4, False, 1), (4, True, 1), (6, False, 0.5), (6, True, 0.5), (7, False, 0.5)],
)
def test_an_epoch_of_other_batches_begins_anew(tmp_path, stop, in_validation, val_interval):
    with pytest.raises(Interrupted):
        fit(tmp_path, stop, in_validation, val_interval=float(val_interval))
    trainer = fit(tmp_path, batch_size=4, val_interval=float(val_interval))
    # Of the second epoch all of its two batches, and the third epoch's.
    steps = stop + 2 + 2
    assert trainer.global_step == steps
    rows = read_rows(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows] == list(range(steps))
    assert all("train/loss" in row for row in rows)


def test_an_epochs_mean_is_that_of_its_steps_by_pairs(whole):
    sizes = [2, 2, 2, 1]
    for options in ({}, {"log_every": 50}, {"module_class": adversarial}):
        rows = read_rows(whole(**options) / "metrics.csv")
        ends = [row for row in rows if "train_epoch/loss" in row]
        assert [row["epoch"] for row in ends] == [str(epoch) for epoch in range(EPOCHS)]
        for row in ends:
            of_it = read_rows(whole() / "metrics.csv") if "module_class" not in options else rows
            steps = [float(one["train/l1"]) for one in of_it if one["epoch"] == row["epoch"]]
            assert float(row["train_epoch/l1"]) == pytest.approx(np.average(steps, weights=sizes), rel=1e-6)
            assert "val/psnr" in row


def test_the_validations_loss_is_the_mean_over_its_pairs(whole):
    rows = [row for row in read_rows(whole() / "metrics.csv") if "val/loss" in row]
    assert len(rows) == EPOCHS
    network = Dropping().eval()
    network.load_state_dict(read_checkpoint(whole() / "phase1" / "last.ckpt")["state_dict"])
    photos = torch.from_numpy(Pairs(3)._photos).permute(1, 0, 4, 2, 3) / 255
    with torch.no_grad():
        expected = (network(photos[0]).bokeh - photos[1]).abs().mean().item()
    assert float(rows[-1]["val/loss"]) == float(rows[-1]["val/loss/l1"]) == pytest.approx(expected, rel=1e-5)
    judged = [row for row in read_rows(whole(module_class=adversarial) / "metrics.csv") if "val/loss" in row][-1]
    weights = {"l1": 1, "generator": 1, "features": 10}
    total = sum(weight * float(judged[f"val/loss/{name}"]) for name, weight in weights.items())
    assert float(judged["val/loss"]) == pytest.approx(total, rel=1e-5)


def test_a_validation_without_what_the_loss_compares_has_scores_alone(tmp_path, monkeypatch, capsys):
    compared = Restoration.validation_losses

    def without_target(self, batch, answer):
        return compared(self, {key: value for key, value in batch.items() if key != "target"}, answer)

    monkeypatch.setattr(Restoration, "validation_losses", without_target)
    fit(tmp_path)
    rows = read_rows(tmp_path / "metrics.csv")
    assert any("val/psnr" in row for row in rows)
    assert not any("val/loss" in key for row in rows for key in row)
    assert capsys.readouterr().out.count("val/loss is not logged: Term `l1` compares `bokeh`") == 1


class Groups(pl.Callback):
    """Keep what every step is made with."""

    def __init__(self):
        self.found = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        group = optimizer.param_groups[0]
        self.found.append({key: group[key] for key in ("lr", "weight_decay", "betas")})


def rates(run, **options):
    seen = Groups()
    trainer = fit(run, further=[seen], **options)
    return [group["lr"] for group in seen.found], seen.found, trainer


@pytest.mark.parametrize("change", [{"batch_size": 4}, {"batch_size": 1}, {"accumulate": 2}])
@pytest.mark.parametrize("stop", [2, 3, 4, 6])
def test_steps_of_another_kind_take_up_the_path_where_the_epochs_are(tmp_path, stop, change):
    """A batch size or accumulation of its own has the rates of a training that had it from the start."""
    with pytest.raises(Interrupted):
        fit(tmp_path / "run", stop)
    alone, _, _ = rates(tmp_path / "alone", **change)
    found, _, trainer = rates(tmp_path / "run", **change)
    assert found == alone[-len(found) :]
    assert found[-1] == pytest.approx(0.001)
    assert (trainer.current_epoch, len(alone) % EPOCHS) == (EPOCHS, 0)


@pytest.mark.parametrize("stop", [2, 4])
def test_what_the_configuration_says_of_the_optimizer_is_what_it_goes_on_with(tmp_path, stop):
    before, _, _ = rates(tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(tmp_path / "run", stop)
    found, groups, trainer = rates(tmp_path / "run", lr=0.1, weight_decay=0.5, betas=(0.5, 0.9))
    assert found == pytest.approx([10 * rate for rate in before[stop:]], rel=1e-12)
    assert all((group["weight_decay"], group["betas"]) == (0.5, (0.5, 0.9)) for group in groups)
    assert trainer.lr_scheduler_configs[0].scheduler.base_lrs == [0.1]


def test_both_rates_of_two_optimizers_follow(tmp_path):
    with pytest.raises(Interrupted):
        fit(tmp_path, 4, module_class=adversarial)
    trainer = fit(tmp_path, module_class=adversarial, batch_size=4, lr=0.1)
    assert [o.param_groups[0]["lr"] for o in trainer.optimizers] == pytest.approx([0.01, 0.002])


@pytest.mark.parametrize("stop", [None, 6])
def test_the_plain_line_counts_what_is_left_in_epochs(tmp_path, capsys, stop):
    if stop:
        with pytest.raises(Interrupted):
            fit(tmp_path, stop)
    fit(tmp_path, batch_size=4 if stop else 2, further=[PlainProgress(0.0)])
    lines = [line.split(" · ") for line in capsys.readouterr().out.splitlines() if line.startswith("phase1 · ")]
    counts = [tuple(map(int, line[2].removeprefix("step ").split("/"))) for line in lines]
    total = 6 + 2 + 2 if stop else LAST_STEP
    assert all(done <= total == of for done, of in counts)
    assert counts[-1] == (total, total)
    assert [line[-1].startswith("-") for line in lines] == [False] * len(lines)


@pytest.mark.parametrize("improvements", [0, EPOCHS - 1])
def test_a_crash_between_best_and_last_loses_neither(tmp_path, monkeypatch, improvements):
    class Crash(BaseException):
        pass

    done = []

    def crash(*paths):
        if len(done) == improvements:
            raise Crash
        done.append(copy_checkpoint(*paths))

    monkeypatch.setattr(KeepLastAndBest, "_improves", lambda self, value: True)
    fit(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("lensblend.training.callbacks.keep.copy_checkpoint", crash)
        with pytest.raises(Crash):
            fit(tmp_path / "run")
    check(tmp_path / "run", tmp_path / "whole", [])
