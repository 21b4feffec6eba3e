import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from lensblend.metrics.fidelity import Psnr, Ssim
from lensblend.metrics.perceptual import Lpips
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.checkpoint_io import AtomicCheckpointIO

METRICS = {"val/psnr": Psnr, "val/ssim": Ssim, "val/lpips": Lpips}
# Lightning's advice on workers and the like, which the runner silences with its reasons.
pytestmark = pytest.mark.filterwarnings("ignore")


class Scored(pl.LightningModule):
    """Trains a single number and reports the scores that it is given, one an epoch."""

    def __init__(self, monitor, scores):
        super().__init__()
        self.layer, self.monitor, self.given = nn.Linear(1, 1), monitor, scores

    def training_step(self, batch, index):
        return self.layer(batch).sum()

    def validation_step(self, batch, index):
        self.log(self.monitor, self.given[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, monitor, scores, resume=None):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=len(scores),
        callbacks=[KeepLastAndBest(folder, monitor, METRICS[monitor].beats)],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    module, batches = Scored(monitor, scores), DataLoader(torch.ones(1, 1))
    module.on_save_checkpoint = lambda checkpoint: checkpoint.update(lensblend={"network": {}})
    trainer.fit(module, batches, batches, ckpt_path=resume)


def epoch(path):
    return torch.load(path, weights_only=True)["epoch"]


@pytest.mark.parametrize(
    ("monitor", "scores", "best"),
    [
        ("val/psnr", [20.0, 23.0, 21.0], 1),
        ("val/ssim", [0.5, 0.4, 0.6], 2),
        ("val/lpips", [0.3, 0.2, 0.25], 1),
        ("val/psnr", [20.0, float("nan"), 19.0], 0),
        ("val/psnr", [float("nan"), 18.0, 17.0], 1),
        ("val/psnr", [float("inf"), 18.0, 17.0], 1),
        ("val/psnr", [19.0, float("inf"), 20.0], 2),
        ("val/lpips", [float("-inf"), 0.3, 0.2], 2),
        ("val/psnr", [float("nan"), float("inf"), float("-inf")], 2),
    ],
)
def test_best_is_the_best_epoch_and_last_the_last(tmp_path, monitor, scores, best):
    fit(tmp_path, monitor, scores)
    assert (epoch(tmp_path / "best.ckpt"), epoch(tmp_path / "last.ckpt")) == (best, 2)
    assert sorted(p.name for p in tmp_path.glob("*.ckpt")) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert epoch(tmp_path / "previous.ckpt") == 1


def test_the_best_score_outlives_a_restart(tmp_path):
    fit(tmp_path, "val/psnr", [25.0])
    fit(tmp_path, "val/psnr", [25.0, 24.0], resume=tmp_path / "last.ckpt")
    assert (epoch(tmp_path / "best.ckpt"), epoch(tmp_path / "last.ckpt")) == (0, 1)


def test_a_best_score_whose_checkpoint_is_gone_counts_no_longer(tmp_path):
    fit(tmp_path, "val/psnr", [25.0])
    (tmp_path / "best.ckpt").unlink()
    fit(tmp_path, "val/psnr", [25.0, 24.0, 23.0], resume=tmp_path / "last.ckpt")
    assert epoch(tmp_path / "best.ckpt") == 1


@pytest.mark.parametrize("best", [float("inf"), float("nan"), None])
def test_a_best_score_of_earlier_that_is_no_finite_number_counts_no_longer(tmp_path, best):
    (tmp_path / "best.ckpt").touch()
    keep = KeepLastAndBest(tmp_path, "val/psnr", Psnr.beats)
    keep.load_state_dict({"best": best, "scores": {"val/psnr": best}, "best_scores": {"val/psnr": best}})
    assert keep.best is None
    assert keep.best_scores == {}


def test_a_state_without_scores_is_taken(tmp_path):
    keep = KeepLastAndBest(tmp_path, "val/psnr", Psnr.beats)
    keep.load_state_dict({})
    assert (keep.best, keep.scores, keep.best_scores) == (None, {}, {})
