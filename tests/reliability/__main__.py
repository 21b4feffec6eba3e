"""Run the reliability matrix on real trainings and print a Markdown page: what was done, how often, what failed.

    python tests/reliability --full --output docs/tests/reliability.md
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
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import torch  # noqa: E402

from reliability import (  # noqa: E402
    faults,
    hostile_checkpoints,
    hostile_runs,
    kills,
    metrics_ddp,
    numerics,
    requests,
    resumes,
    streams,
    sweeps,
    tracking,
)
from reliability.rows import Bench, Case, Row  # noqa: E402

SAFE = (
    "exit code 1 or 2 within seconds, a short message that names the file or the key, no traceback; or the work is "
    "done without the damaged part; nothing else runs, is written, is removed, is told or is asked of a network"
)
ROWS = (
    Row(
        "R1",
        "`kill -9` while saving, TMPDIR on the same and on another file system",
        "a valid checkpoint, every checkpoint loads, no temporary outlives the next start",
        kills.kills_while_saving,
    ),
    Row(
        "R2",
        "SIGTERM at a step, then the same command: save points × workers {0, 2} × processes {1, 2} × phases",
        "every logged value and the final weights, optimizer and learning-rate state equal the uninterrupted run's "
        "bit by bit (CPU)",
        resumes.exact_resume,
    ),
    Row(
        "R3",
        "three `kill -9` over a whole three-phase run, then the same command until done",
        "as R2 for all phases; metrics.csv has neither gap nor double row",
        kills.kills_of_a_whole_run,
    ),
    Row(
        "R4",
        "SIGTERM, SIGUSR1, SIGINT in a step, a validation, a save and a phase change; SIGINT with data workers and to "
        "the whole group; SIGINT twice",
        "exit 143, no process left, saved at most one step back, goes on as R2",
        resumes.interruption,
    ),
    Row(
        "R5",
        "full disk in a run, read-only folder, failing rename, full TMPDIR",
        "the message names path and free bytes, exit 1, the checkpoint before is intact, after the repair as R2; a "
        "full TMPDIR changes nothing",
        faults.disks,
    ),
    Row(
        "R6",
        "checkpoints empty, cut at 10, 50, 99 %, one bit flipped; of another network, configuration, phase, of a newer "
        "format",
        "damaged: the valid one before, as R2; other: refused with the reason, nothing touched",
        faults.damages,
    ),
    Row(
        "R7",
        "infinite loss, NaN in gradient, weights, target, photo; all-black pairs",
        "stops or goes on by policy, says where, logs it; no checkpoint holds a NaN",
        faults.not_finite,
    ),
    Row(
        "R8",
        "allocation refused in a step, in a validation, in job 1 of 3",
        "advice, exit 1, the other jobs are trained",
        faults.no_memory,
    ),
    Row(
        "R11",
        "the samples that a training draws from a folder of files: flips, epochs, workers, stops, seeds, processes",
        "equal or different as they must be, byte by byte; photo and target alike",
        streams.augmentation,
    ),
    Row(
        "R12",
        "sweeps: 1 or 2 processes a job × 1 or 2 jobs at once × all done, one fails, a job killed, the launcher "
        "killed; Ctrl-C; mixed processes and list-valued kernels; jobs in one process",
        "one folder, and one W&B run per phase, for each job; the others go on; no process is left; a sweep that is "
        "resumed leaves out what is done and ends as R2",
        sweeps.sweeps,
    ),
    Row(
        "R13",
        "validation: processes {1, 2, 3, 4} × {7, 8, 294} images",
        "means equal one process's within 1e-6, and each image is scored once",
        metrics_ddp.ddp_metrics,
    ),
    Row(
        "R14",
        "W&B offline runs of trainings that end, fail, are stopped and requeued by SLURM, killed, of two processes, "
        "jobs of a sweep: runs, ids, group, job type, tags, config, history, summary, images, table, exit codes, "
        "secrets",
        "two readers, one of them W&B's own, find what the training's own files say",
        tracking.offline_runs,
    ),
    Row(
        "R15",
        "networks in float32, bfloat16 and float16: weights, colour, SSIM, SSIM loss",
        "weights sum to 1 and colours stay within 1e-6; SSIM within 1e-4 of float32",
        numerics.half_precision,
    ),
    Row(
        "R17",
        "checkpoints exchanged between compiled and plain networks",
        "equal names, the training goes on",
        numerics.compiled,
    ),
    Row(
        "R18",
        "every loss of a three-phase run against a loop in plain PyTorch",
        "within 1e-6",
        numerics.loss_curve,
    ),
    Row(
        "R19",
        "every option of every group, every point of every sweep; misspelt, mistyped, missing and impossible requests",
        "composes and resolves; exit 2, one message with the value and the nearest valid one, no traceback, nothing "
        "trained",
        requests.requests,
    ),
    Row(
        "S1",
        "checkpoints from somebody else: interpolations, dangerous and odd targets, nodes, sizes, records, "
        "configurations, data, weights, pickles, archives, special files, hashes × render, evaluate, train from it, "
        "train and render with its maps",
        SAFE,
        hostile_checkpoints.checkpoints,
    ),
    Row(
        "S2",
        "runs' folders from somebody else: config.yaml, its nodes, phases and values, status.json, metrics.csv, the "
        "lock, links, checkpoints and each part of them, kept comparisons × train resume=, compare, evaluate, render",
        SAFE,
        hostile_runs.run_folders,
    ),
)


def main() -> None:
    """Run the rows that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [row.id for row in ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, default=names, help="rows to run; default: all")
    parser.add_argument("--full", action="store_true", help="the published counts (about an hour), not a few of each")
    parser.add_argument("--seed", type=int, default=0, help="of every random moment")
    parser.add_argument("--folder", type=Path, help="scratch folder; default: a new one, removed if nothing fails")
    parser.add_argument("--output", type=Path, help="Markdown page to write")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="reliability-"))
    bench = Bench(folder.resolve(), options.seed, options.full)
    print(f"seed {options.seed}, in {bench.folder}", flush=True)
    results = [(row, *_run(row, bench)) for row in ROWS if row.id in options.rows]
    failed = len(_broken(results))
    passed = sum(len(cases) for _, cases, _ in results) - failed
    if options.output:
        options.output.write_text(page(results, bench, _lines(options.output)), encoding="utf-8")
    if not failed and options.folder is None:
        shutil.rmtree(folder)
    for row, case in _broken(results):
        print(f"{row.id} FAILED: {case.name}", *case.failures, sep="\n    ")
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
    """Return a page's table line by row, and what it says of R18 besides."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    table = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith(("| R", "| S"))}
    notes = [line for line in lines if line.startswith("R18: ")]
    return table | ({"note": notes[0]} if notes else {})


def page(results: list[tuple[Row, list[Case], float]], bench: Bench, before: dict[str, str]) -> str:
    """Return the page; rows that were not run keep the line they have."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src", "conf"], check=False).returncode
    lines = [
        "# Reliability",
        "",
        "What happens to a training that is killed, interrupted, or denied disk, memory or numbers, alone or as a",
        "job of a sweep. A case (other than R11's, R15's and R19's) is a real training in processes of its own, with",
        "the published network at a sixteenth of its width (R1: a quarter), on 32×48 pixels; every kill is a real",
        "`kill -9` at a random moment. In S1 and S2, a genuine checkpoint or run is damaged and given to the verbs.",
        "`make reliability` runs all of it, `make reliability-quick` a few cases of each row.",
        "",
        "| row | what was done | a case passes when | cases | failures | date | commit |",
        "|---|---|---|---:|---:|---|---|",
    ]
    now = f"{datetime.date.today().isoformat()} | {commit}{', changed' if changed else ''}"
    table = dict(before)
    for row, cases, _ in results:
        failures = sum(bool(case.failures) for case in cases)
        table[row.id] = f"| {row.id} | {row.what} | {row.passes} | {len(cases)} | {failures} | {now} |"
    lines += [table[row.id] for row in ROWS if row.id in table]
    broken = _broken(results)
    if broken:
        lines += ["", "## Failing", ""]
        lines += [f"- {row.id}, {case.name}: {'; '.join(case.failures)}" for row, case in broken]
    told = [f"R18: {case.name}." for row, cases, _ in results if row.id == "R18" for case in cases]
    lines += [
        "",
        *(f"{line}\n" for line in told or [before.get("note")] if line),
        f"{os.cpu_count()} CPU cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()}), "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}, seed {bench.seed}. All rows, or one:",
        "",
        f"    python tests/reliability{' --full' if bench.full else ''} --seed {bench.seed}",
        f"    python tests/reliability{' --full' if bench.full else ''} --rows R5 --output docs/tests/reliability.md",
        "",
        "Not measured here: GPUs.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
