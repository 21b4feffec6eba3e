"""How fast a training is: on a clock that passes only where something pauses, so that the numbers are known."""

import pytest
import pytorch_lightning as pl
import torch

from lensblend.training.callbacks.throughput import Throughput
from lensblend.training.datamodule import WaitedLoader
from lensblend.training.loggers.metrics_csv import MetricsCsv, read_rows
from lensblend.training.phase_run import PhaseRun

pytestmark = pytest.mark.filterwarnings("ignore")
LOAD, STEP, VALIDATE = 0.25, 0.75, 100.0


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("callbacks.throughput", "datamodule"):
        monkeypatch.setattr(f"lensblend.training.{module}.time", clock)
    return clock


class Photos(torch.utils.data.Dataset):
    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return 12

    def __getitem__(self, index):
        self.clock.now += LOAD / 2
        return {"photo": torch.ones(3, 2, 2)}


class Slow(pl.LightningModule):
    def __init__(self, clock):
        super().__init__()
        self.clock, self.weight = clock, torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, index):
        self.clock.now += STEP
        return self.weight * batch["photo"].mean()

    def validation_step(self, batch, index):
        self.clock.now += VALIDATE

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, clock, **options):
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, callbacks=[Throughput()], logger=MetricsCsv(PhaseRun(folder, "p", "g")),
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        log_every_n_steps=3, **options,
    )  # fmt: skip
    photos = Photos(clock)
    trainer.fit(Slow(clock), WaitedLoader(photos, 2), torch.utils.data.DataLoader([{"photo": torch.ones(1)}]))
    return read_rows(folder / "speed.csv")


@pytest.mark.parametrize(
    ("options", "steps"), [({}, ["2", "5", "8", "11"]), ({"accumulate_grad_batches": 2}, ["2", "5"])]
)
def test_images_a_second_and_the_wait_for_data_without_validations(tmp_path, clock, options, steps):
    rows = fit(tmp_path, clock, **options, val_check_interval=3)
    assert [row["step"] for row in rows] == steps
    for row in rows:
        assert float(row["speed/images_per_s"]) == pytest.approx(2 / (LOAD + STEP), rel=0.35)
    # Between two that lie within an epoch, exactly: Lightning fetches a batch ahead.
    assert float(rows[-1]["speed/images_per_s"]) == pytest.approx(2 / (LOAD + STEP), rel=0.15)
    assert "speed/gpu_memory_gib" not in rows[0]
    assert not (tmp_path / "metrics.csv").exists()


def test_the_share_of_waiting_is_that_of_the_loader(tmp_path, clock):
    shares = [float(row["speed/data_share"]) for row in fit(tmp_path, clock, limit_val_batches=0)]
    assert sum(shares) / len(shares) == pytest.approx(LOAD / (LOAD + STEP), abs=0.05)


def test_of_several_processes_all_images_count_and_of_a_gpu_the_peak(tmp_path, clock, monkeypatch):
    class Trainer(pl.Trainer):
        def __init__(self):
            """Nothing is trained."""

        loggers = ()
        world_size, global_step, current_epoch, log_every_n_steps, train_dataloader = 4, 0, 0, 1, None
        strategy = type("Strategy", (), {"root_device": torch.device("cuda:0")})()

    told = []
    trainer = Trainer()
    trainer.loggers = [type("Logger", (), {"log_metrics": lambda self, *row: told.append(row)})()]
    reset = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    callback, batch = Throughput(), {"photo": torch.ones(5, 1)}
    module = pl.LightningModule()
    callback.on_train_start(trainer, module)
    for step in (1, 2):
        trainer.global_step = step
        clock.now += 2.0
        callback.on_train_batch_end(trainer, module, None, batch, 0)
    expected = {"speed/images_per_s": 10.0, "speed/gpu_memory_gib": 1.5, "epoch": 0}
    assert told == [(expected, 1)]
    assert reset == [torch.device("cuda:0")]
