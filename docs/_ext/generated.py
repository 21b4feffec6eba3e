"""Pages and figures of the site that are made of the code and the configurations, each time it is built."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from sphinx.application import Sphinx
from torch import nn

import lensblend
import lensblend.losses
import lensblend.metrics
from lensblend.metrics.per_image import PerImageMetric

HERE = Path(__file__).resolve().parents[1]
CONF = HERE.parent / "conf"
PLACE = HERE / "generated"
# What may be called from another program; `cli` and `launchers` are the command's own.
PACKAGES = (
    *("networks", "losses", "metrics", "data", "inference", "runs", "training", "comparison", "preparation", "survey"),
    *("benching", "priors", "backbones", "nn", "ops"),
)
CONFIGURATION = """\
Every group and every option, as `conf/` has them. `lensblend train GROUP=OPTION` chooses one, `KEY=VALUE` changes a
value, `lensblend train --help` lists the groups, and `lensblend train ... --cfg job` prints what a command means.
"""
LOSSES = """\
A configuration of the group `loss` names terms and weighs them (`lensblend.losses.weighted_sum.WeightedSum`); these
are the terms. Each is logged as `train/NAME`.
"""


def setup(app: Sphinx) -> dict[str, Any]:
    """Let Sphinx make the pages before it reads any."""
    app.connect("builder-inited", lambda _: write_all())
    app.connect("source-read", _name_what_lies_outside)
    return {"parallel_read_safe": True}


def _name_what_lies_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Name pages of the source that are none of the site, instead of linking to them; links within it are checked."""
    folder = (Path(app.srcdir) / page).parent

    def named(link: re.Match[str]) -> str:
        file = (folder / link[2]).resolve()
        if not file.is_file() or file.is_relative_to(HERE):
            return link[0]
        return f"{link[1]} (`{file.relative_to(HERE.parent)}` in the source)"

    source[0] = re.sub(r"\[([^\]]+)\]\(([^)#:]+\.md)(?:#[^)]*)?\)", named, source[0])


def write_all() -> None:
    """Write all generated pages and figures."""
    PLACE.mkdir(exist_ok=True)
    pages: dict[str, Callable[[], str]] = {"configuration": configuration, "losses": losses, "metrics": metrics}
    for name, make in pages.items():
        _write(PLACE / f"{name}.md", make())
    for package in PACKAGES:
        _write(PLACE / f"api-{package}.rst", api(package))
    from figures import draw_all

    draw_all(PLACE)


def _write(path: Path, text: str) -> None:
    """Write a page where it differs, so that Sphinx reads anew only what changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def configuration() -> str:
    """Return the page of every group and option of the configuration, as its files stand."""
    lines = ["# Configuration", "", *CONFIGURATION.splitlines(), ""]
    for name in ("train", "evaluate"):
        lines += [f"## `lensblend {name}`", "", *_block(CONF / f"{name}.yaml")]
    for group in sorted({file.parent for file in CONF.rglob("*.yaml") if file.parent != CONF}):
        node = ".".join(group.relative_to(CONF).parts)
        if node.startswith("hydra"):
            continue
        lines += [f"## {node}", ""]
        for file in sorted(group.glob("*.yaml")):
            said = _comment(file)
            lines += [f"### {node}={file.stem}", "", *([said, ""] if said else []), *_classes(file), *_block(file)]
    return "\n".join(lines) + "\n"


def _comment(file: Path) -> str:
    """Return what the comment at the head of a configuration says."""
    said = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        said.append(line.lstrip("# ").rstrip())
    return " ".join(line for line in said if not line.startswith("lensblend "))


def _classes(file: Path) -> list[str]:
    """Return a line that names the class that a configuration builds, with what it says of itself."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    target = content.get("_target_") if isinstance(content, dict) else None
    if not isinstance(target, str) or not target.startswith("lensblend."):
        return []
    module, _, name = target.rpartition(".")
    return [f"Builds `{target}`: {_first(getattr(importlib.import_module(module), name))}", ""]


def _block(file: Path) -> list[str]:
    return ["```yaml", file.read_text(encoding="utf-8").rstrip(), "```", ""]


def losses() -> str:
    """Return the page of every loss."""
    lines = ["# Losses", "", *LOSSES.splitlines(), ""]
    for kind in _kinds(lensblend.losses, nn.Module):
        lines += [f"## {kind.__name__}", "", f"`{kind.__module__}.{kind.__name__}`", "", _whole(kind), ""]
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Return the page of every metric, with the convention that its name stands for."""
    lines = ["# Metrics", "", "| key | is | better | convention |", "|---|---|---|---|"]
    kinds = [kind for kind in _kinds(lensblend.metrics, PerImageMetric) if "name" in vars(kind)]
    for kind in kinds:
        better = "higher" if kind.higher_is_better else "lower"
        lines.append(f"| `{kind.name}` | {kind.heading} | {better} | {kind.convention} |")
    for kind in kinds:
        lines += ["", f"## {kind.heading}", "", f"`{kind.__module__}.{kind.__name__}`", "", _whole(kind)]
    return "\n".join(lines) + "\n"


def _kinds(package: ModuleType, base: type) -> Iterator[Any]:
    """Yield the classes of a package, module by module, in the order in which they stand."""
    for module in _modules(package.__name__):
        for node in ast.parse(inspect.getsource(module)).body:
            kind = vars(module).get(node.name) if isinstance(node, ast.ClassDef) else None
            if inspect.isclass(kind) and issubclass(kind, base) and not kind.__name__.startswith("_"):
                yield kind


def _modules(package: str) -> list[ModuleType]:
    found = importlib.import_module(package)
    names = [info.name for info in pkgutil.walk_packages(found.__path__, f"{package}.")]
    return [importlib.import_module(name) for name in sorted(names)]


def _first(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _whole(thing: Any) -> str:
    """Return what stands above a docstring's first section, as Markdown."""
    said = re.split(r"\n(?:Args|Attributes|Raises|Example|References):\n", inspect.cleandoc(thing.__doc__ or ""))[0]
    said = re.sub(r"\.\. math:: ?(.*(?:\n[ \t]+.*|\n(?=\n[ \t]))*)", lambda m: f"$$ {' '.join(m[1].split())} $$", said)
    return re.sub(r":[a-z:]+:`~?([^`]*)`", r"`\1`", re.sub(r":math:`([^`]*)`", r"$\1$", said))


def api(package: str) -> str:
    """Return the page of a package: each module's classes and functions, from their docstrings."""
    name = f"lensblend.{package}"
    title = f"``{name}``"
    lines = [title, "=" * len(title), "", f".. automodule:: {name}", ""]
    for module in _modules(name):
        title = f"``{module.__name__}``"
        defined = [
            node.name
            for node in ast.parse(inspect.getsource(module)).body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
        ]
        lines += [title, "-" * len(title), "", f".. automodule:: {module.__name__}"]
        lines += [f"   :members: {', '.join(defined)}", ""] if defined else [""]
    return "\n".join(lines) + "\n"
