"""R19: every configuration composes and resolves, and what is wrong with a request is said."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import yaml

from lensblend.cli.config import config_folder
from lensblend.cli.presets import sweeps_folder
from reliability.children import start
from reliability.rows import Bench, Case, expect, side_by_side

BAD = Path(__file__).resolve().parents[2] / "tests" / "cli" / "bad_requests.yaml"
# What an option leaves to the command.
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


def requests(bench: Bench) -> Iterator[Case]:
    """R19: all options and grid points, and all bad requests; the quick form takes some of each."""
    options = [[option, *PATHS.get(option, [])] for option in _options()]
    good = [*options, *_grid_points()]
    bad = yaml.safe_load(BAD.read_text(encoding="utf-8"))
    if not bench.full:
        good, bad = good[::16], bad[::16]
    jobs = [partial(_composes, bench, number, overrides) for number, overrides in enumerate(good)]
    yield from side_by_side(jobs)
    yield from side_by_side([partial(_is_refused, bench, number, **one) for number, one in enumerate(bad)])


def _options() -> list[str]:
    files = sorted(config_folder().glob("*/*.yaml"))
    left_out = ["loss"]  # mounted by schedules
    if find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        print("R19: Optuna is not installed; hparams_search is left out")
        left_out.append("hparams_search")
    # A sweep has no default, so it is added.
    return [
        f"{'+' if file.parent.name == 'sweep' else ''}{file.parent.name}={file.stem}"
        for file in files
        if file.parent.name not in left_out
    ]


def _grid_points() -> Iterator[list[str]]:
    for file in sorted(sweeps_folder().glob("*.yaml")):
        sweep = yaml.safe_load(file.read_text(encoding="utf-8"))
        spans = {key: span.get("values", [span.get("value")]) for key, span in sweep["parameters"].items()}
        for point in itertools.product(*spans.values()):
            overrides = [f"{key}={value}" for key, value in zip(spans, point, strict=True)]
            yield [f"+sweep={file.stem}", *overrides]


def _composes(bench: Bench, number: int, overrides: Sequence[str]) -> Case:
    case = Case(" ".join(overrides))
    child = start([*overrides, "--cfg", "job", "--resolve"], bench.fresh(f"r19-{number}").with_suffix(".log"))
    code = child.wait()
    case.failures = expect((code == 0, f"exit code {code}: {child.output[-300:]}"))
    if not case.failures:
        config = yaml.safe_load(child.output)
        # Only what is chosen when the command runs is left open.
        left = [key for key, value in _leaves(config) if value == "???" and key != "run_dir"]
        case.failures = expect(
            (not left, f"not set: {left}"),
            (set(config["schedule"]["run"]) <= set(config["schedule"]["phases"]), "runs a phase that there is not"),
        )
    return case


def _leaves(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}".lstrip("."))
    else:
        yield path, node


def _is_refused(bench: Bench, number: int, request: list[str], says: str, started: bool = False) -> Case:
    case = Case(" ".join(request))
    folder = bench.fresh(f"r19-bad-{number}")
    folder.mkdir()
    verb, *arguments = request
    if verb == "train":
        small = ["debug=smoke"] if started else []
        child = start([*arguments, *small], folder.with_suffix(".log"), before=partial(os.chdir, folder))
        code, said = child.wait(), child.output
    else:
        command = [sys.executable, "-m", f"lensblend.cli.{verb}", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        code, said = done.returncode, done.stderr
    case.failures = expect(
        (code == 2, f"exit code {code}"),
        (says in said, f"does not say {says!r} but {said[-300:]!r}"),
        ("Traceback" not in said, "a traceback"),
        (not list(folder.rglob("*.ckpt")), "something was trained"),
    )
    return case
