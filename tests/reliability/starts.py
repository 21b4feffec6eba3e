"""R23: what a run keeps of its starts, whatever became of them and wherever they were."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lensblend.errors import DataError
from lensblend.runs.checkpoint_files import read_checkpoint
from lensblend.training.restoration import Restoration
from reliability.children import train
from reliability.resumes import before_call, signal_in_step, tidy
from reliability.rows import Bench, Case, expect, side_by_side

ONE = (
    *("schedule.run=[phase1]", "schedule.every_phase.max_epochs=1", "loader.limit_train=8", "loader.limit_val=2"),
    *("loader.num_workers=0", "checkpoint.every_steps=1"),
)
_ALWAYS = ("command", "folder", "code", "environment", "started")


def starts(bench: Bench) -> Iterator[Case]:
    """R23: six ways to start and to end."""
    ways = [_resumed, _killed, _fresh, _changed_project, _outside, _failed]
    yield from side_by_side([partial(way, bench) for way in ways[: None if bench.full else 2]])


def _fresh(bench: Bench) -> Case:
    run = bench.fresh("r20-fresh")
    code = train(run, *ONE).wait()
    kept = _kept(run)
    return tidy(run, Case("fresh", [*expect((code == 0, f"exit code {code}")), *_incomplete(run, kept, [0])]))


def _resumed(bench: Bench) -> Case:
    run = bench.fresh("r20-resumed")
    stopped = train(run, *ONE, before=partial(signal_in_step, "phase1", 2, signal.SIGTERM)).wait()
    code = train(run, *ONE).wait()
    failures = expect((stopped == 143 and code == 0, f"exit codes {stopped} and {code}"))
    return tidy(run, Case("stopped and resumed", failures + _incomplete(run, _kept(run), [143, 0])))


def _killed(bench: Bench) -> Case:
    run = bench.fresh("r20-killed")
    train(run, *ONE, before=partial(signal_in_step, "phase1", 2, signal.SIGKILL)).wait()
    before = _kept(run)["starts"]
    code = train(run, *ONE).wait()
    kept = _kept(run)
    failures = expect(
        (code == 0, f"exit code {code} after the restart"),
        (len(before) == 1 and before[0]["ended"] is None, "what was killed has an end"),
        (kept["starts"][0].get("was_killed") is True, "the next start does not say that the one before was killed"),
        ("it was killed" in (run / "train.log").read_text(), "train.log does not say that it was killed"),
    )
    return tidy(run, Case("killed (-9) and resumed", failures + _incomplete(run, kept, [None, 0])))


def _changed_project(bench: Bench) -> Case:
    run, project = bench.fresh("r20-changed"), bench.fresh("r20-project")
    project.mkdir()
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
    (project / "own.py").write_text("rate = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (project / "own.py").write_text("rate = 2\npassword = 'hunter2'\n")
    (project / "new.py").write_text("secret of a new file\n")
    train(run, *ONE, before=partial(os.chdir, project)).wait()
    kept = _kept(run)
    told: Mapping[str, Any] = kept["starts"][0]["code"].get("project", {})
    diff = (run / told["diff"]).read_text() if told.get("diff") else ""
    commits = read_checkpoint(run / "phase1" / "best.ckpt")["lensblend"]["commits"]
    written = "".join(path.read_text(errors="replace") for path in run.rglob("*") if path.suffix in (".json", ".diff"))
    failures = expect(
        (told.get("commit") == head and told.get("dirty") is True, f"the project is told as {told}"),
        ("-rate = 1\n+rate = 2\n" in diff, "the diff does not hold the change"),
        (told.get("untracked") == ["new.py"], "the new file is not named"),
        ("hunter2" not in written and "secret of a new file" not in written, "a secret is written"),
        (commits.get("project") == f"{head}-dirty", f"the checkpoint names the commits {commits}"),
    )
    return tidy(run, Case("in a changed project", failures + _incomplete(run, kept, [0])))


def _outside(bench: Bench) -> Case:
    run, place = bench.fresh("r20-outside"), bench.fresh("r20-place")
    place.mkdir()
    # The package's own checkout is none either where git does not look above.
    hidden = {"GIT_CEILING_DIRECTORIES": str(bench.folder), "PATH": f"{place}"}
    code = train(run, *ONE, env=hidden, before=partial(os.chdir, place)).wait()
    kept = _kept(run)
    told = kept["starts"][0]["code"]
    failures = expect(
        (code == 0, f"exit code {code}"),
        (list(told) == ["lensblend"] and bool(told["lensblend"]["version"]), f"the code is told as {told}"),
    )
    return tidy(run, Case("outside of any checkout, without git", failures + _incomplete(run, kept, [0])))


def _failed(bench: Bench) -> Case:
    run = bench.fresh("r20-failed")

    def fail(module: Restoration, *_: Any) -> None:
        if module.trainer.global_step == 1:
            raise DataError("a pair is damaged")

    act: Callable[[], None] = partial(before_call, Restoration, "training_step", fail)
    code = train(run, *ONE, before=act).wait()
    failures = expect(
        (code == 1, f"exit code {code}, not 1"),
        ("a pair is damaged" in (run / "train.log").read_text(), "train.log does not say why"),
    )
    return tidy(run, Case("failed", failures + _incomplete(run, _kept(run), [1])))


def _kept(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "provenance.json").read_text())
    return content


def _incomplete(run: Path, kept: Mapping[str, Any], codes: list[int | None]) -> list[str]:
    """Say what a run's starts lack, whose exit codes are known; None is that of one that was killed."""
    found = [start["exit_code"] for start in kept["starts"]]
    if found != codes:
        return [f"the exit codes {found} are told, not {codes}"]
    failures = []
    for start in kept["starts"]:
        about = kept["environments"].get(start["environment"]) or {}
        failures += expect(
            (all(start.get(key) for key in _ALWAYS), f"one of {_ALWAYS} is missing: {start}"),
            (f"run_dir={run}" in start["command"], f"the command is told as {start['command']}"),
            ((start["ended"] is None) == (start["exit_code"] is None), "the end is missing, or told of what had none"),
            (about.get("packages", {}).get("torch") == torch.__version__.partition("+")[0]
             or about.get("packages", {}).get("torch") == torch.__version__, "PyTorch's version is missing"),
            (all(about.get("machine", {}).get(key) for key in ("host", "platform", "python", "processor", "cores",
             "memory_bytes")), "the machine is not told"),
        )  # fmt: skip
        for code in start["code"].values():
            if code.get("diff"):
                name = hashlib.sha256((run / code["diff"]).read_bytes()).hexdigest()[:12]
                failures += expect((code["diff"] == f"provenance/{name}.diff", "a diff is not what its name says"))
    log = (run / "train.log").read_text()
    return failures + expect(("phase1: " in log and "\x1b" not in log, "train.log is not what was said"))
