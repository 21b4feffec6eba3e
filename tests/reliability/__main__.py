"""Run the reliability matrix on real trainings and print a Markdown page: what was done, how often, what failed.

    python tests/reliability --full --output docs/benchmarks/reliability.md
    python tests/reliability --rows R3 --seed 7         # a few cases of one row

Every training is a real process started through the command line's own `main` on embedded data, every kill a real
`kill -9`. The exit code is 1 if a case fails.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import torch  # noqa: E402

from reliability.matrix import ROWS  # noqa: E402
from reliability.rows import Bench, Case, Row  # noqa: E402


def main() -> None:
    """Run the rows that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [row.id for row in ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, default=names, help="rows to run; default: all")
    parser.add_argument("--but", nargs="+", choices=names, default=[], help="rows to leave out")
    parser.add_argument("--full", action="store_true", help="the published counts (about an hour), not a few of each")
    parser.add_argument("--seed", type=int, default=0, help="of every random moment")
    parser.add_argument("--folder", type=Path, help="scratch folder; default: a new one, removed if nothing fails")
    parser.add_argument("--output", type=Path, help="Markdown page to write")
    parser.add_argument("--rewrite", action="store_true", help="write docs/bad-images.md, which R9 compares, anew")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="reliability-"))
    bench = Bench(folder.resolve(), options.seed, options.full, options.rewrite)
    print(f"seed {options.seed}, in {bench.folder}", flush=True)
    results = [(row, *_run(row, bench)) for row in ROWS if row.id in options.rows and row.id not in options.but]
    failed = len(_broken(results))
    passed = sum(case.count for _, cases, _ in results for case in cases) - failed
    if options.output:
        options.output.write_text(page(results, bench, _lines(options.output)), encoding="utf-8")
    if not failed and options.folder is None:
        shutil.rmtree(folder)
    for row, case in _broken(results):
        print(f"{row.id} FAILED: {case.name}", *case.failures, sep="\n    ")
    print(", ".join(f"{row.id} {seconds:.0f} s" for row, _, seconds in results))
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


def _broken(results: list[tuple[Row, list[Case], float]]) -> list[tuple[Row, Case]]:
    return [(row, case) for row, cases, _ in results for case in cases if case.failures]


def _run(row: Row, bench: Bench) -> tuple[list[Case], float]:
    start = time.monotonic()
    cases = []
    for case in _apart(row, bench):
        cases.append(case)
        print(f"{row.id} {'FAILED' if case.failures else 'ok'}: {case.name}", flush=True)
        for failure in case.failures:
            print(f"    {failure}", flush=True)
    return cases, time.monotonic() - start


def _apart(row: Row, bench: Bench) -> Iterator[Case]:
    """Run a row in a process of its own: what it computes would start threads, and trainings are forked from here."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)

    def work() -> None:
        for case in row.cases(bench):
            sending.send(case)

    process = context.Process(target=work)
    process.start()
    sending.close()
    with receiving:
        while True:
            try:
                yield receiving.recv()
            except EOFError:
                break
    process.join()
    if process.exitcode != 0:
        yield Case("the row came to its end", [f"it ended early, with exit code {process.exitcode}"])


def _lines(path: Path) -> dict[str, str]:
    """Return a page's table line by row, and the paragraphs between the table and the machine."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [number for number, line in enumerate(lines) if line.startswith(("| R", "| S"))]
    table = {lines[number].split(" | ")[0].strip("| "): lines[number] for number in rows}
    machine = next((number for number, line in enumerate(lines) if " CPU cores (" in line), len(lines))
    between = "\n".join(lines[rows[-1] + 1 : machine]) if rows else ""
    return table | {"notes": between.partition("## Failing")[0].strip()}


def page(results: list[tuple[Row, list[Case], float]], bench: Bench, before: dict[str, str]) -> str:
    """Return the page; rows that were not run keep the line they have."""
    command = f"python tests/reliability{' --full' if bench.full else ''}"
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src", "conf"], check=False).returncode
    lines = [
        "# Reliability",
        "",
        "What happens to a training that is killed, interrupted, or denied disk, memory or numbers, alone or as a",
        "job of a sweep. A case (other than R9's to R11's, R15's, R19's and S5's) is a real training in processes of",
        "its own, with the published network at a sixteenth of its width (R1: a quarter), on 32×48 pixels; every kill",
        "is a real `kill -9` at a random moment. In S1 and S2, a genuine checkpoint or run is damaged and given to the",
        "verbs. The rows of security are numbered here: S1 checkpoints, S2 runs' folders, S3 targets, S4 archives, S5",
        "overrides, S6 names, S7 secrets and versions.",
        "`make reliability` runs all of it, `make reliability-quick` a few cases of each row.",
        "",
        "| row | what was done | a case passes when | cases | failures | date | commit |",
        "|---|---|---|---:|---:|---|---|",
    ]
    now = f"{datetime.date.today().isoformat()} | {commit}{', changed' if changed else ''}"
    table = dict(before)
    for row, cases, _ in results:
        failures = sum(bool(case.failures) for case in cases)
        table[row.id] = (
            f"| {row.id} | {row.what} | {row.passes} | {sum(case.count for case in cases)} | {failures} | {now} |"
        )
    lines += [table[row.id] for row in ROWS if row.id in table]
    broken = _broken(results)
    if broken:
        lines += ["", "## Failing", ""]
        lines += [f"- {row.id}, {case.name}: {'; '.join(case.failures)}" for row, case in broken]
    notes = before.get("notes", "")
    for told in (f"R18: {case.name}." for row, cases, _ in results if row.id == "R18" for case in cases):
        notes = re.sub("(?m)^R18: .*$", told, notes) if re.search("(?m)^R18: ", notes) else f"{notes}\n\n{told}".strip()
    lines += [
        "",
        *([notes, ""] if notes else []),
        f"{os.cpu_count()} CPU cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()}), "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}, seed {bench.seed}. All rows, or one:",
        "",
        f"    {command} --seed {bench.seed}",
        f"    {command} --rows R5 --output docs/benchmarks/reliability.md",
        "",
        "Not measured here: GPUs.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
