"""When a training of a search stops early, by hand and against real studies in SQLite; and what it leaves in them."""

import math

import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader

from lensblend.errors import RequestError
from lensblend.metrics.fidelity import Psnr
from lensblend.training.callbacks.keep import KeepLastAndBest
from lensblend.training.callbacks.prune import Prune, is_pruned
from lensblend.training.checkpoint_io import AtomicCheckpointIO

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)
COMPLETE, RUNNING = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.RUNNING

# Lightning's advice on workers and the like, which the runner silences with its reasons.
pytestmark = pytest.mark.filterwarnings("ignore")

# Scores after epochs 1 to 4 of two trials that have ended. Their medians by hand: 21, 25, 26, 27.
FINISHED = ([20.0, 24.0, 25.0, 26.0], [22.0, 26.0, 27.0, 28.0])
DRAWN = {"lr": optuna.distributions.LogUniformDistribution(1e-5, 1.0)}


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


class Search:
    """A study in SQLite, and trainings of it as the sweeper starts them."""

    def __init__(self, folder, direction="maximize", finished=FINISHED):
        self.folder, self.storage = folder, f"sqlite:///{folder / 'study.db'}"
        self.study = optuna.create_study(study_name="s", storage=self.storage, direction=direction)
        for values in finished:
            self.add(values)

    def add(self, values, **attributes):
        reported = dict(enumerate(values, start=1))
        trial = optuna.trial.create_trial(
            state=COMPLETE, value=values[-1], intermediate_values=reported, user_attrs=attributes
        )
        self.study.add_trial(trial)

    def ask(self, lr=0.1):
        self.study.enqueue_trial({"lr": lr})
        return self.study.ask(DRAWN)

    def write(self, job, monitor="val/psnr", lengths=(4,), monitors=None):
        """Write a job's configuration and return its phases' folders."""
        phases = {}
        for number, length in enumerate(lengths):
            kind = monitors[number] if monitors else monitor
            values = {"image_size": [32, 48], "batch_size": 1, "lr": 0.1, "lr_final": 0.1, "loss": {}}
            phases[f"phase{number + 1}"] = {**values, "max_epochs": length, "monitor": kind}
        run_dir = self.folder / job
        run_dir.mkdir(exist_ok=True)
        classes = {"psnr": "fidelity.Psnr", "ssim": "fidelity.Ssim", "lpips": "perceptual.Lpips"}
        metrics = {name: {"_target_": f"lensblend.metrics.{target}"} for name, target in classes.items()}
        content = {"metrics": metrics, "schedule": {"run": list(phases), "phases": phases}}
        (run_dir / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return [run_dir / name for name in phases]

    def train(self, phase, scores, monitor="val/psnr", resume=None, epochs=None, every=1, **options):
        """Train a phase on until it has no scores any more, and return how many epochs it took and whether pruned."""
        given = {"storage": self.storage, "study_name": "s", "overrides": ["x=1", "lr=0.1"], "n_startup_trials": 2}
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs or len(scores),
            check_val_every_n_epoch=every,
            callbacks=[Prune(**{**given, **options}), KeepLastAndBest(phase, monitor, Psnr.beats)],
            plugins=[AtomicCheckpointIO()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=phase,
        )
        module, batches = Scored(monitor, scores), DataLoader(torch.ones(1, 1))
        module.on_save_checkpoint = lambda checkpoint: checkpoint.update(lensblend={"network": {}})
        trainer.fit(module, batches, batches, ckpt_path=resume)
        return trainer.current_epoch, is_pruned(trainer)

    def now(self, trial):
        # Opened anew: a study keeps a copy of the trials that it has handed out.
        return optuna.load_study(study_name="s", storage=self.storage).trials[trial.number]

    def reported(self, trial):
        # Lightning averages in float32.
        return {epoch: round(value, 4) for epoch, value in self.now(trial).intermediate_values.items()}


@pytest.mark.parametrize(
    ("scores", "ended"),
    [
        ([21.5, 24.9, 30.0, 30.0], (2, True)),  # 21.5 is above 21, 24.9 is below 25
        ([20.9, 30.0, 30.0, 30.0], (1, True)),
        ([21.0, 25.0, 26.0, 27.0], (4, False)),  # the median itself is not worse than the median
        ([25.5, 19.0, 26.0, 19.0], (4, False)),  # what counts is the best so far
        ([21.5, 25.5, 26.5, 20.0], (4, False)),
        ([21.5, 25.5, 25.9, 20.0], (3, True)),
        ([26.0, 26.0, 26.0, 26.0], (4, False)),  # after the last epoch there is nothing left to save
    ],
)
def test_a_training_ends_when_its_best_score_falls_behind_the_median(tmp_path, scores, ended):
    search = Search(tmp_path)
    trial = search.ask()
    (phase,) = search.write("0")
    assert search.train(phase, scores) == ended
    assert search.reported(trial) == dict(enumerate(scores[: ended[0]], start=1))
    kept = search.now(trial)
    assert kept.user_attrs.get("pruned", False) is ended[1]
    assert kept.user_attrs["folder"] == str(tmp_path / "0")
    assert kept.state == RUNNING
    # The epoch ended as any other.
    assert torch.load(phase / "last.ckpt", weights_only=True)["epoch"] == ended[0] - 1
    assert (phase / "best.ckpt").is_file()


@pytest.mark.parametrize(("score", "ended"), [(0.26, (1, True)), (0.25, (2, False))])
def test_a_score_that_is_to_be_small_is_pruned_when_it_is_large(tmp_path, score, ended):
    search = Search(tmp_path, "minimize", [[0.3, 0.3], [0.2, 0.2]])
    search.ask()
    (phase,) = search.write("0", "val/lpips", (2,))
    assert search.train(phase, [score, 0.1], "val/lpips") == ended


@pytest.mark.parametrize("options", [{"n_startup_trials": 3}, {"n_warmup_steps": 4}])
def test_nothing_is_pruned_too_early(tmp_path, options):
    search = Search(tmp_path)
    search.ask()
    assert search.train(*search.write("0"), [1.0, 1.0, 1.0, 1.0], **options) == (4, False)


def test_pruned_trials_do_not_lower_the_bar(tmp_path):
    search = Search(tmp_path)
    search.add([10.0], pruned=True)  # with it the median after epoch 1 would be 20
    search.ask()
    assert search.train(*search.write("0"), [20.5, 30.0, 30.0, 30.0]) == (1, True)


def test_epochs_are_counted_over_the_phases(tmp_path):
    search = Search(tmp_path)
    trial = search.ask()
    first, second = search.write("0", lengths=(2, 2))
    assert search.train(first, [25.0, 25.0]) == (2, False)
    assert search.train(second, [25.5, 30.0]) == (1, True)  # 25.5 is below 26
    assert search.reported(trial) == {1: 25.0, 2: 25.0, 3: 25.5}


def test_the_last_epoch_of_a_phase_may_be_pruned_if_another_phase_follows(tmp_path):
    search = Search(tmp_path)
    search.ask()
    assert search.train(search.write("0", lengths=(2, 2))[0], [25.0, 1.0]) == (2, False)
    search.ask()
    assert search.train(search.write("1", lengths=(2, 2))[0], [22.0, 22.0]) == (2, True)


def test_only_epochs_with_a_validation_report(tmp_path):
    search = Search(tmp_path)
    trial = search.ask()
    assert search.train(*search.write("0"), [1.0, 30.0, 1.0, 31.0], every=2) == (4, False)
    assert search.reported(trial) == {2: 30.0, 4: 31.0}


def test_a_restart_goes_on_with_its_trial_and_may_repeat_an_epoch(tmp_path):
    search = Search(tmp_path)
    trial = search.ask()
    (phase,) = search.write("0")
    scores = [25.0, 25.5, 25.9, 30.0]
    search.train(phase, scores[:2])
    newer = search.ask()
    # As if the process had died after its report and before the checkpoint of that epoch.
    optuna.storages.get_storage(search.storage).set_trial_intermediate_value(trial._trial_id, 3, 25.9)
    assert search.train(phase, scores, resume=phase / "last.ckpt") == (3, True)
    assert search.reported(trial) == {1: 25.0, 2: 25.5, 3: 25.9}
    assert search.reported(newer) == {}


def test_trials_that_drew_the_same_go_to_one_job_each_the_newest_first(tmp_path):
    search = Search(tmp_path)
    older, newer, other = search.ask(), search.ask(), search.ask(0.2)
    for job, score in (("0", 30.0), ("1", 31.0)):
        search.train(*search.write(job), [score])
    assert [search.reported(trial) for trial in (other, older, newer)] == [{}, {1: 31.0}, {1: 30.0}]


def test_a_training_without_a_running_trial_says_so_and_is_trained_to_its_end(tmp_path, capsys):
    search = Search(tmp_path)
    search.ask(0.2)
    phase = search.write("0")[0]
    assert search.train(phase, [1.0, 1.0]) == (2, False)
    assert "No running trial drew what this training was given" in capsys.readouterr().out
    trial = search.ask()
    assert search.train(phase, [1.0], resume=None, epochs=1) == (1, True)
    search.study.tell(trial, 1.0)
    assert search.train(phase, [1.0, 1.0], resume=phase / "last.ckpt") == (2, False)
    assert f"Trial {trial.number} has ended" in capsys.readouterr().out


def test_a_score_that_is_no_number_is_not_reported(tmp_path, capsys):
    search = Search(tmp_path)
    trial = search.ask()
    assert search.train(*search.write("0"), [25.0, math.nan]) == (2, False)
    assert search.reported(trial) == {1: 25.0}
    assert "is nan after epoch 2 and is not reported" in capsys.readouterr().out


def test_a_trial_that_ends_meanwhile_stops_nothing(tmp_path, capsys):
    search = Search(tmp_path)
    trial = search.ask()
    (phase,) = search.write("0")
    callback = Prune(search.storage, "s", ["lr=0.1"], 2)
    trainer = pl.Trainer(accelerator="cpu", default_root_dir=phase, logger=False, enable_checkpointing=False)
    callback.setup(trainer, Scored("val/psnr", []), "fit")
    search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert callback._ask(1, 1.0) is False
    assert "could not be asked after epoch 1, nothing is pruned" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"storage": "sqlite:///FOLDER/absent.db"}, r"study 's' in sqlite:.*absent.db cannot be reached.*not exist"),
        ({"storage": "sqlite:///FOLDER"}, "cannot be reached"),
        ({"study_name": "t"}, "study 't' in .* cannot be reached: there is no such study"),
        ({"storage": "postgresql://me:hunter2@localhost/x"}, r"postgresql://me:\(redacted\)@localhost/x cannot be"),
        ({"storage": "nonsense"}, "cannot be reached: Could not parse"),
        ({"storage": None}, "hydra.sweeper.storage=None"),
        ({"study_name": None}, "hydra.sweeper.study_name=None"),
    ],
)
def test_a_study_that_cannot_be_reached_is_refused_at_the_start(tmp_path, options, says):
    search = Search(tmp_path)
    options = {key: value and value.replace("FOLDER", str(tmp_path)) for key, value in options.items()}
    with pytest.raises(RequestError, match=f"(?s){says}.*callbacks.prune=null") as refused:
        search.train(*search.write("0"), [1.0], **options)
    assert "hunter2" not in str(refused.value)
    assert sorted(tmp_path.glob("*.db")) == [tmp_path / "study.db"]


def test_scores_that_cannot_be_compared_are_refused(tmp_path):
    search = Search(tmp_path)
    with pytest.raises(
        RequestError, match=r"is to maximize, but val/lpips is to minimize: set hydra.sweeper.direction"
    ):
        search.train(*search.write("0", "val/lpips"), [1.0], "val/lpips")
    mixed = search.write("1", lengths=(2, 2), monitors=("val/psnr", "val/ssim"))
    with pytest.raises(RequestError, match=r"monitor val/psnr and val/ssim, which cannot be compared"):
        search.train(mixed[0], [1.0])


@pytest.mark.parametrize("option", ["n_startup_trials", "n_warmup_steps"])
def test_options_below_zero_are_refused(option):
    with pytest.raises(RequestError, match=f"callbacks.prune.{option}` is at least 0, but got -1"):
        Prune("sqlite:///x.db", "s", [], **{option: -1})


def test_the_sweeper_could_not_end_a_trial_that_was_told_to_be_pruned(tmp_path):
    """Why `Prune` leaves the trial's state alone: the sweeper tells its score, and failing that, FAIL."""
    search = Search(tmp_path)
    trial = search.ask()
    search.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    with pytest.raises(RuntimeError, match="already finished"):
        search.study.tell(trial, state=COMPLETE, values=[1.0])
    with pytest.raises(RuntimeError, match="already finished"):
        search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
