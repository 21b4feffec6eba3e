"""The twelve checks of R14, each against what the training itself has left on disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from lensblend.runs.checkpoints import load_network
from lensblend.runs.configuration import flat
from lensblend.training.loggers.metrics_csv import read_rows
from reliability.offline_runs import OfflineRun
from reliability.rows import expect

SECRETS = {"WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567", "HF_TOKEN": "hf_not-for-other-people"}
SCORES = ("psnr", "ssim", "ssim_wang")


@dataclass
class Recorded:
    """A training, how its processes ended, and what two readers say of its runs.

    Attributes:
        name: The training in words.
        folder: Its folder.
        codes: The exit codes of the processes that trained in it, one after the other.
        phases: The phases that were started.
        readings: The runs as read by each reader.
        kernels: The kernel set.
        job: The job's number, if it is one of a sweep.
    """

    name: str
    folder: Path
    codes: list[int]
    phases: tuple[str, ...]
    readings: dict[str, list[OfflineRun]]
    kernels: str = "gaussian_25_45_75"
    job: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What config.yaml holds."""
        content: dict[str, Any] = yaml.safe_load((self.folder / "config.yaml").read_text())
        return content

    def ended(self, runs: list[OfflineRun]) -> list[OfflineRun]:
        """Return those of the runs that trained their phase to its end."""
        return [run for run in runs if run.exit_code == 0]


Reading = Callable[[Recorded, list[OfflineRun]], list[str]]


def failures_of(check: Reading, trainings: list[Recorded]) -> list[str]:
    """Apply a check to what every reader says of every training."""
    return [
        f"{t.name}, {who}: {said}" for t in trainings for who, runs in t.readings.items() for said in check(t, runs)
    ]


def counted(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """A run for each phase and for each time that it was started."""
    found, wanted = [run.job_type for run in runs], [p for p in training.phases for _ in training.codes]
    return expect((found == wanted, f"runs of {found}, not of {wanted}"))


def ids(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """One id a phase, as the phase's folder says."""
    own = {phase: (training.folder / phase / "wandb_id").read_text().strip() for phase in training.phases}
    wrong = [run.id for run in runs if run.id != own.get(run.job_type)]
    return expect((not wrong, f"ids {wrong}"), (len(set(own.values())) == len(own), "phases share an id"))


def groups(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """One group a training, that says what was combined and where it lies."""
    found = {run.group for run in runs}
    end = "/".join(training.folder.parts[-2:])
    right = all(g.startswith(f"{training.kernels} · hourglass") and g.endswith(f": {end}") for g in found)
    return expect((len(found) == 1 and right, f"groups {found}"))


def job_types(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """Job type and name tell the phase."""
    wrong = [r.name for r in runs if not r.name.endswith(f" / {r.job_type}") or r.job_type not in training.phases]
    return expect((not wrong, f"names {wrong}"))


def tags(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """Tags name what was combined, and the sweep."""
    wanted = {training.kernels, "hourglass", "dbsi_three_phase", "embedded", "demo"}
    if training.job is not None:
        wanted.add(f"sweep {'/'.join(training.folder.parent.parts[-2:])}")
    return expect(*((wanted <= set(run.tags), f"tags {run.tags}") for run in runs))


def configs(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """All of config.yaml (but secrets), the chosen options, the job."""
    hidden = {k: "(redacted)" if v in SECRETS.values() else v for k, v in flat(training.config).items()}
    found = []
    for run in runs:
        said = flat(run.config)
        wrong = [key for key, value in hidden.items() if said.get(key) != value]
        chosen = (said.get("choices.kernels"), said.get("choices.backbone"), said.get("job"))
        found += expect(
            (not wrong, f"config differs in {wrong}"),
            (chosen == (training.kernels, "hourglass", training.job), f"choices {chosen}"),
        )
    return found


def histories(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """Every value of metrics.csv at its step, and no other."""
    found = []
    for phase in training.phases:
        told: dict[tuple[int, str], float] = {}
        for run in (run for run in runs if run.job_type == phase):
            keys = {
                k
                for row in run.history
                for k in row
                if k == "lr" or k.startswith(("lr/", "train/", "train_epoch/", "val/"))
            }
            told |= {(s, k): float(v) for k in keys for s, v in run.series(k) if k != "trainer/global_step"}
        csv = {(int(r["step"]), k): float(r[k]) for r in _rows(training, phase) for k in r if "/" in k or k == "lr"}
        wrong = [key for key in told.keys() | csv.keys() if not _near(told.get(key), csv.get(key))]
        found += expect((bool(csv) and not wrong, f"{phase}: {len(wrong)} values differ, first {sorted(wrong)[:1]}"))
    return found


def summaries(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """The best checkpoint's scores, parameters, latency; the best of each score."""
    found = []
    for run in training.ended(runs):
        monitor = training.config["schedule"]["phases"][run.job_type]["monitor"]
        validated = [row for row in _rows(training, run.job_type) if monitor in row]
        best = max(validated, key=lambda row: float(row[monitor]))
        network = load_network(training.folder / run.job_type).network
        said = run.summary
        found += expect(
            *((_near(said.get(n), float(best[f"val/{n}"])), f"{run.job_type}: {n} {said.get(n)}") for n in SCORES),
            (said.get("parameters") == sum(p.numel() for p in network.parameters()), "another number of parameters"),
            (0 < said.get("latency_s", 0) < 10 and said.get("device") == "cpu", f"latency {said.get('latency_s')}"),
            *(
                (_near(said[f"val/{n}"]["max"], max(v for _, v in run.series(f"val/{n}"))), f"val/{n} is not the best")
                for n in SCORES
            ),
        )
    return found


def images(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """The same two pairs under the same keys after every validation, and never else; whole pictures."""
    found = []
    for run in runs:
        panels = {k: v for row in run.history for k, v in row.items() if k.startswith("panels/")}
        steps = [step for step, _ in run.series("val/psnr")]
        found += expect(
            *(([s for s, _ in run.series(k)] == steps, f"{k} at other steps than validations") for k in panels),
            (sorted(panels) == (_pairs(training) if steps else []), f"pictures {sorted(panels)}"),
        )
        for said in panels.values():
            content = (run.files / said["path"]).read_bytes()
            found += expect((hashlib.sha256(content).hexdigest() == said["sha256"], f"{said['path']} is another file"))
    return found


def tables(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """The same pairs in every run's final table, their pictures and scores."""
    found = []
    sizes = training.config["kernels"]["sizes"]
    family = training.config["kernels"]["family"]
    weights = ["weight photo", *(f"weight {family} {size}" for size in sizes)]
    columns = ["id", "photo", "target", "bokeh", "error", *weights, *SCORES]
    for run in training.ended(runs):
        rows = run.table("final")
        found += expect(
            (sorted(f"panels/{row['id']}" for row in rows) == _pairs(training), f"ids {[r['id'] for r in rows]}"),
            (all(list(row) == columns for row in rows), f"columns {list(rows[0])}"),
            (all(math.isfinite(row[name]) for row in rows for name in SCORES), "a score is not finite"),
        )
        for path in (row[column] for row in rows for column in columns[1 : -len(SCORES)]):
            with Image.open(path) as picture:
                found += expect((picture.size == (48, 32), f"{path} has the size {picture.size}"))
    return found


def ends(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """Exit codes of success, failure and signals; who will be started again; nothing of a killed process."""
    wanted = [(None if code < 0 else code, code == 143) for code in training.codes for _ in training.phases]
    found = [(run.exit_code, run.preempting) for run in runs]
    return expect((found == wanted, f"exit code and preempting {found}, not {wanted}"))


def no_secrets(training: Recorded, runs: list[OfflineRun]) -> list[str]:
    """No secret in any file below the training's ``wandb`` folder, and none in what was read."""
    files = [path for path in (training.folder / "wandb").rglob("*") if path.is_file()]
    leaks = [path.name for path in files for secret in SECRETS.values() if secret.encode() in path.read_bytes()]
    said = [run.id for run in runs for secret in SECRETS.values() if secret in repr(run)]
    return expect((bool(files) and not leaks, f"secrets in {leaks}"), (not said, f"secrets in runs {said}"))


def _pairs(training: Recorded) -> list[str]:
    """Return the keys of the pairs that are pictured: the first and the fourth of six, by the data set itself."""
    from lensblend.runs.instantiate import build
    from lensblend.runs.roles import DATA

    ids = build(training.config["data"], "data", DATA).split("val").ids[:6]
    return sorted(f"panels/{ids[index]}" for index in (0, 3))


def _rows(training: Recorded, phase: str) -> Iterator[dict[str, str]]:
    return (row for row in read_rows(training.folder / "metrics.csv") if row["phase"] == phase)


def _near(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and (a == b or math.isclose(a, b, rel_tol=1e-7, abs_tol=1e-12))
