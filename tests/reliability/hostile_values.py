"""S6 and S7: names that are markup or formulas, secrets in the environment, and versions that nobody should install."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from PIL import Image

from lensblend.runs.configuration import flat
from reliability.children import call
from reliability.images import SMALL
from reliability.offline_runs import read_runs
from reliability.rows import Bench, Case, expect

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "<script>alert(1)<script>",
    '=HYPERLINK("x")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "[a](javascript:alert(1))|`b`",
    "{{7*7}}${seed}{% x %}",
    "\x1b]0;evil\x07\x1b[2J",
)
SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_not-for-other-people",
    "AWS_SECRET_ACCESS_KEY": "aws/not+for/other/people",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-not-for-other-people",
    "GITHUB_TOKEN": "ghp_notForOtherPeople",
    "OPENAI_API_KEY": "sk-not-for-other-people",
}
# Of reliability and licence: malware, known holes, and a fork under AGPL with the same import name.
DENIED = {
    "pytorch-lightning": ("2.5.0", "2.6.0", "2.6.2", "2.6.3", "2.7.0"),
    "hydra-core": ("1.3.2", "1.3.7"),
    "albumentations": ("1.4.24", "2.0.7", "2.0.9"),
    "pillow": ("11.3.0", "12.2.0"),
}
NEVER = ("albumentationsx", "pyiqa", "torchdata", "hydra-ray-launcher", "lpips")


def names(bench: Bench) -> Iterator[Case]:
    """S6: ten names, in all that three verbs write."""
    folder = bench.fresh("s6")
    logs = _written(folder, NAMES, {})
    pages = [_Page(file.read_text("utf-8")) for file in sorted(folder.rglob("*.html"))]
    cells = [cell for file in folder.rglob("*.csv") for cell in _cells(file)]
    kept = [cell for file in (folder / "run").glob("compare/**/*.csv") for cell in _cells(file)]
    for cell in kept:  # what `compare` keeps for itself holds names as they are
        cells.remove(cell)
    keys = {key for run in read_runs(folder / "run") for row in run.history for key in flat(row)}
    for name in NAMES:
        yield Case(
            repr(name),
            expect(
                (len(pages) == 2 and all(name in "".join(p.texts) for p in pages), "a page does not show the name"),
                (all(not page.foreign for page in pages), f"pages hold {[page.foreign for page in pages]}"),
                (any(name in cell for cell in cells), "no table has the name"),
                (not any(cell[0] in "=+-@" and not _is_number(cell) for cell in cells if cell), "a cell is a formula"),
                (bool(keys) and all(re.fullmatch(r"[\w/.-]+", key) for key in keys), f"keys of W&B: {keys}"),
                ("\x1b" not in logs and "\x07" not in logs, "what is printed steers the terminal"),
            ),
        )


def secrets_and_versions(bench: Bench) -> Iterator[Case]:
    """S7: six secrets, and the versions that the project's requirements exclude."""
    folder = bench.fresh("s7")
    _written(folder, ("a", "b"), SECRETS)
    child = call("export", [f"{folder}/run", "--output", f"{folder}/model.safetensors"], folder / "export.log", SECRETS)
    ended = expect((child.wait() == 0, f"export failed; see {child.log}"))
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    for name, value in SECRETS.items():
        told = [str(path.relative_to(folder)) for path, content in files.items() if value.encode() in content]
        yield Case(name, ended + expect((not told, f"is in {told}")))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    required = [Requirement(line) for line in [*project["dependencies"], *extras]]
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    pins = {name.lower(): version for name, version in pins.items()}
    for package, versions in DENIED.items():
        specifier = next(one.specifier for one in required if one.name == package)
        taken = [version for version in versions if version in specifier]
        yield Case(
            f"{package} {', '.join(versions)}",
            expect(
                (not taken, f"{specifier} takes {taken}"),
                (pins.get(package, "") in specifier, f"constraints.txt pins {pins.get(package)}"),
            ),
        )
    named = [name for name in NEVER if name in pins or any(one.name == name for one in required)]
    yield Case(f"never: {', '.join(NEVER)}", expect((not named, f"required: {named}")))


def _written(folder: Path, ids: tuple[str, ...], env: Mapping[str, str]) -> str:
    """Let three verbs write what they do of photos of these names; return what they print."""
    for place, found in (("train", ("sound",)), ("val", ids)):
        for part in ("photos", "targets"):
            (folder / place / part).mkdir(parents=True)
            for number, name in enumerate(found):
                pixels = np.full((48, 64, 3), 20 * number + 9 * (part == "photos"), np.uint8)
                Image.fromarray(pixels).save(folder / place / part / f"{name}.png")
    data = [f"data.{key}={folder}/train/{key}" for key in ("photos", "targets")]
    data += [f"data.val_{key}={folder}/val/{key}" for key in ("photos", "targets")]
    small = [value for value in SMALL if value != "callbacks.panels=null"]
    limits = [f"loader.limit_val={len(ids)}", "logger=wandb", f"run_dir={folder}/run"]
    printed = ""
    for verb, arguments in {
        "train": [*small, *data, *limits],
        "evaluate": [f"checkpoint={folder}/run", f"output={folder}/scored", "gallery=true", "metrics.lpips=null"],
        "compare": [f"{folder}/run", "--output", f"{folder}/compared"],
    }.items():
        child = call(verb, arguments, folder / f"{verb}.log", {**env, "LENSBLEND_CACHE": f"{folder}/cache"})
        if child.wait() != 0:
            raise RuntimeError(f"{verb} failed; see {child.log}")
        printed += child.output
    return printed


class _Page(HTMLParser):
    """A page as a parser reads it: its texts, and tags and attributes that no page of this project has.

    Attributes:
        texts: Of all elements, and of attributes that are read out.
        foreign: What would run.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.foreign: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at a tag's name and attributes."""
        self.foreign += [f"{tag} {key}" for key, _ in attrs if key.startswith("on")]
        self.foreign += [f"{key}={value}" for key, value in attrs if (value or "").startswith("javascript:")]
        self.foreign += (
            [tag] if (tag == "svg" and not attrs) or (tag == "img" and dict(attrs).get("src") == "x") else []
        )

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.texts.append(data)


def _cells(file: Path) -> list[str]:
    with file.open(encoding="utf-8", newline="") as opened:
        return [cell for row in csv.reader(opened) for cell in row]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
