"""``lensblend runs``: what trainings lie below a folder, how they stand, and what tells them apart."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensblend.cli.flags import path, run_flags, shared
from lensblend.cli.parts import run_part
from lensblend.errors import RequestError, printable

if TYPE_CHECKING:
    from lensblend.comparison.listing import Listed

# Each is a module `lensblend.cli.runs_<part>` with `parser()` and `run(arguments)`; without any, runs are listed.
PARTS = {
    "rm": "remove runs",
    "clean": "remove what runs can do without",
}
_DEFAULT = Path("outputs")
_GAP, _LEAST = 2, 20  # columns of letters: between two columns of the table, and of its last one
_COLOURS = {"done": "green", "running": "cyan", "failed": "red", "damaged": "red", "killed": "yellow"}


def parser() -> argparse.ArgumentParser:
    """Return the command line of the list."""
    from lensblend.comparison.listing import SCORES, STATES

    verb = argparse.ArgumentParser(
        prog="lensblend runs",
        parents=[shared()],
        description="List the trainings in and below a folder: state, scores, age, size and what differs.",
        epilog="\n".join(f"  lensblend runs {name:<6}{what}" for name, what in PARTS.items())
        + "\n\n`lensblend runs rm --help` explains each. A folder of that name: ./rm.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_argument("folder", nargs="?", type=path, metavar="FOLDER", help="default: outputs")
    verb.add_argument(
        "--state", action="append", choices=STATES, default=[], metavar="STATE",
        help=f"only runs in this state, also several times: {', '.join(STATES)}",
    )  # fmt: skip
    verb.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE",
        help="only runs whose configuration says so: seed=1, kernels=gaussian_75, schedule.phases.phase1.lr=0.001",
    )  # fmt: skip
    verb.add_argument(
        "--sort", choices=["name", "age", "size", *SCORES], default="name",
        help="age: the newest first; size: the largest; a score: the best (default: name)",
    )  # fmt: skip
    verb.add_argument("--limit", type=_positive, metavar="N", help="the first N only")
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a list of objects instead of a table")
    form.add_argument("--csv", action="store_true", help="print a table for other programs")
    return verb


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number, 1 or more, but got {text!r}")
    return int(text)


def list_them(arguments: argparse.Namespace) -> None:
    """Print the list."""
    from lensblend.comparison.listing import chosen, list_runs, set_apart
    from lensblend.storage import csv_text, json_text

    folder: Path = arguments.folder or _DEFAULT
    if arguments.folder is None and not folder.exists():
        raise RequestError("There is no folder `outputs` here; name the one below which runs lie.")
    found = list_runs(folder)
    runs = chosen(found, arguments.state, arguments.where, arguments.sort)
    runs = set_apart(runs[: arguments.limit])
    if arguments.json:
        print(json_text([_content(run) for run in runs]))
    elif arguments.csv:
        print(csv_text(_rows(runs)), end="")
    elif not runs:
        print(printable(f"{folder}: no run{f', of {len(found)}, is so' if found else ' is in it or below it'}."))
    else:
        _print_table(runs, folder)
        of_all = f" of {len(found)}" if len(found) > len(runs) else ""
        print(f"{len(runs)}{of_all} run{'' if max(len(runs), len(found)) == 1 else 's'}, {_total(runs)}")


def _content(run: Listed) -> dict[str, Any]:
    return {
        "folder": str(run.folder),
        "state": run.state,
        "fault": run.fault,
        "phase": run.phase,
        "number": run.number,
        "phases": run.phases,
        "step": run.step,
        "epochs": run.epochs,
        "max_epochs": run.max_epochs,
        "scores": dict(run.scores),
        "updated": run.updated.isoformat(timespec="seconds") if run.updated else None,
        "size": run.size,
        "differs": dict(run.differs),
    }


def _scores(runs: Sequence[Listed]) -> list[str]:
    """Return the names of the scores that any run has: those that one sorts by, then the others."""
    from lensblend.comparison.listing import SCORES

    found = dict.fromkeys(name for run in runs for name in run.scores)
    return [*(name for name in SCORES if name in found), *(name for name in found if name not in SCORES)]


def _rows(runs: Sequence[Listed]) -> list[list[Any]]:
    scores = _scores(runs)
    keys = list(dict.fromkeys(key for run in runs for key in run.differs))
    facts = ("folder", "state", "phase", "step", "epochs", "updated", "size", "fault")
    rows: list[list[Any]] = [[*facts, *(f"val/{name}" for name in scores), *keys]]
    for run in runs:
        content = _content(run)
        values = [run.differs.get(key) for key in keys]
        rows.append(
            [*(content[name] for name in facts), *(run.scores.get(name) for name in scores), *map(_cell, values)]
        )
    return rows


def _cell(value: Any) -> Any:
    from lensblend.comparison.labels import short_value

    return None if value is None else short_value(value)


def _print_table(runs: Sequence[Listed], folder: Path) -> None:
    """Print a line for each run that fits the terminal: columns that are missed least are left out first."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A file or another program takes lines of any length.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000, highlight=False)
    columns = {name: [printable(cell.replace("\n", " ")) for cell in cells] for name, cells in _columns(runs, folder)}
    *fixed, last = columns
    columns["run"] = [_end_of(name, console.width // 3) for name in columns["run"]]
    widths = {name: max(map(cell_len, [name, *columns[name]])) + _GAP for name in fixed}
    for name in ("step", *reversed(fixed[5:-2]), "phase", "size", "age"):
        if console.width - sum(widths.values()) < _LEAST:
            widths.pop(name, None)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in widths:
        table.add_column(name, justify="left" if name in ("run", "state", "phase") else "right", no_wrap=True)
    room = max(console.width - sum(widths.values()), 1)
    table.add_column(last, no_wrap=True, overflow="ellipsis", max_width=room)
    for number, run in enumerate(runs):
        style = {"state": _COLOURS.get(run.state, "")}
        table.add_row(*(Text(columns[name][number], style.get(name, "")) for name in (*widths, last)))
    console.print(table)


def _columns(runs: Sequence[Listed], folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the columns of the table: run, state, phase, step, up to three scores, age, size, and what differs."""
    now = datetime.now(UTC)
    scores = [name for name in _scores(runs) if name in ("psnr", "ssim", "lpips")] or _scores(runs)[:3]
    yield "run", [_name(run, folder) for run in runs]
    yield "state", [run.state for run in runs]
    yield "phase", [f"{run.phase} {run.number}/{run.phases}" if run.number else run.phase for run in runs]
    yield "step", [str(run.step) if run.phase else "" for run in runs]
    for name in scores:
        yield name, [f"{run.scores[name]:.4g}" if name in run.scores else "" for run in runs]
    yield "age", [_age(run.updated, now) for run in runs]
    yield "size", [_size(run.size) for run in runs]
    yield "what differs, or is wrong", [run.fault or _differs(run) for run in runs]


def _differs(run: Listed) -> str:
    return " · ".join(f"{key}={_cell(value) or 'none'}" for key, value in run.differs.items())


def _end_of(name: str, letters: int) -> str:
    """Return the end of a path, which tells it from others."""
    return name if len(name) <= letters else f"…{name[len(name) - letters + 1 :]}"


def _name(run: Listed, folder: Path) -> str:
    """Return a run's name within the folder that was asked for."""
    within = run.folder.absolute()
    base = folder.absolute()
    return str(within.relative_to(base)) if within != base and within.is_relative_to(base) else str(run.folder)


def _age(updated: datetime | None, now: datetime) -> str:
    seconds = (now - updated).total_seconds() if updated else -1
    if seconds < 0:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: int) -> str:
    from lensblend.runs.folders import size_words

    return size_words(count)


def _total(runs: Sequence[Listed]) -> str:
    return _size(sum(run.size for run in runs))


def main() -> None:
    """List, or run one part of the verb on its own command line."""
    if sys.argv[1:2] and sys.argv[1] in PARTS:
        run_part("runs", parser(), PARTS)
    else:
        run_flags(parser(), list_them)


if __name__ == "__main__":
    main()
