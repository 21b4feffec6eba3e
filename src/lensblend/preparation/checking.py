"""A whole data set looked at: every file once, in processes, and then all of them together."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lensblend.data.listing import SUFFIXES, natural_key, passed_over, subfolders
from lensblend.errors import DataError, RequestError
from lensblend.preparation.arrangement import Arrangement, Unit, arrange, arrange_folders
from lensblend.preparation.duplicates import near_pairs
from lensblend.preparation.findings import Finding
from lensblend.preparation.inspection import Look, Seen, look
from lensblend.preparation.manifest import held_against, place, read_manifest


@dataclass(frozen=True)
class Request:
    """What is looked at, and how.

    Attributes:
        folder: The data set's; or that of photos alone.
        targets: Then that of their targets.
        manifest: A list of its files.
        workers: Processes; 1 works in this one.
        compares: Measure how targets and photos fit each other.
    """

    folder: Path
    targets: Path | None = None
    manifest: Path | None = None
    workers: int = 1
    compares: bool = True

    @property
    def folders(self) -> list[Path]:
        """The one, or both."""
        return [self.folder] if self.targets is None else [self.folder, self.targets]


@dataclass
class Report:
    """What was found.

    Attributes:
        layout: That of the folder.
        files: How many were looked at.
        pairs: How many photos with a target were.
        findings: By file, problems first.
    """

    layout: str
    files: int
    pairs: int
    findings: list[Finding]

    def counts(self, notes: bool) -> Counter[str]:
        """Return how many problems, or notes, there are of each kind."""
        return Counter(finding.kind for finding in self.findings if finding.is_note == notes)

    def summary(self) -> str:
        """Say in one line how many files were looked at, and what was found."""
        parts = []
        for notes, word in ((False, "problem"), (True, "note")):
            counts = self.counts(notes)
            if notes and not counts:
                continue
            number = sum(counts.values())
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            parts.append(f"{number or 'no'} {word}{'' if number == 1 else 's'}{f' ({kinds})' if kinds else ''}")
        return f"{self.files} files, {self.pairs} pairs (layout: {self.layout}): {', '.join(parts)}"


Track = Callable[[Iterator[Look], int], Iterator[Look]]


def check(request: Request, track: Track = lambda looks, total: looks) -> Report:
    """Look at every file of a data set, and return all that is wrong.

    Args:
        request: What is looked at.
        track: Shows how far the looking is: given the looks and their number, it yields them.

    Raises:
        RequestError: There is nothing of a known layout.
        DataError: A process that decoded died.
    """
    for folder in request.folders:
        if not folder.is_dir():
            raise RequestError(f"`{folder}` is not a folder; name the folder of a data set.")
    named = functools.partial(_named, _base(request.folders))
    findings: list[Finding] = []
    listed = read_manifest(request.manifest, findings) if request.manifest else {}
    if request.targets is None:
        arrangement = arrange(request.folder, named)
    else:
        arrangement = arrange_folders(request.folder, request.targets, named)
    findings += arrangement.findings
    units = _with_strays(arrangement, request.folders, named, findings)
    if not units:
        raise RequestError(f"`{request.folder}` holds no image; name the folder of a data set.")
    looks = list(track(_looks(units, named, request), len(units)))
    seen = [one for result in looks for one in result.seen]
    splits = {one.file: result.unit.split for result in looks for one in result.seen}
    splits |= {file: listed[at].split for file in splits if (at := place(file)) in listed and listed[at].split}
    findings += [finding for result in looks for finding in result.findings]
    findings += _same_bytes(looks, splits, named) + _nearly_same(seen, splits, named)
    if request.manifest:
        findings += held_against(listed, {one.file: one.sha256 for one in seen}, named)
    findings.sort(key=lambda finding: (finding.is_note, natural_key(finding.file), finding.kind))
    pairs = sum(len(unit.targets) for unit in units if unit.photo is not None)
    return Report(arrangement.layout, len(seen), pairs, findings)


def _base(folders: Sequence[Path]) -> Path:
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.absolute() for folder in folders]))


def _named(base: Path, file: Path) -> str:
    """Return a file's path below the data set's folder, wherever it lies there."""
    for whole, start in ((file, base), (place(file), place(base))):
        if whole.is_relative_to(start):
            return str(whole.relative_to(start))
    return str(file)


def _with_strays(
    arrangement: Arrangement, folders: Sequence[Path], named: Callable[[Path], str], findings: list[Finding]
) -> list[Unit]:
    """Return all units, and one for each image that belongs to none; say which files have formats that are not read."""
    known = {file for unit in arrangement.units for file in unit.files}
    units = list(arrangement.units)
    for folder in folders:
        for below in _folders_below(folder):
            findings += [
                Finding(named(file), "unread format", f"files that end in {file.suffix} are not read")
                for file in passed_over(below)
            ]
            for file in sorted(below.iterdir(), key=lambda path: natural_key(path.name)):
                if file.suffix.lower() in (*SUFFIXES, ".npy") and file.name[0] != "." and file not in known:
                    findings.append(Finding(named(file), "belongs to nothing", "it is no part of a pair"))
                    is_map = file.suffix.lower() == ".npy"
                    units.append(Unit(file.stem, None, (), (file,)) if is_map else Unit(file.stem, None, (file,)))
    return units


def _folders_below(folder: Path) -> Iterator[Path]:
    yield folder
    for below in subfolders(folder):
        yield from _folders_below(below)


def _looks(units: Sequence[Unit], named: Callable[[Path], str], request: Request) -> Iterator[Look]:
    task = functools.partial(look, named=named, compares=request.compares)
    if request.workers == 1:
        yield from map(task, units)
        return
    # Not forked: a library's threads are not copied, and what they hold would stay locked.
    with _pool(request.workers) as pool:
        yield from pool.map(task, units, chunksize=max(1, min(8, len(units) // (4 * request.workers))))


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _on_one_thread)
    try:
        yield pool
    except BrokenProcessPool:
        raise DataError(
            "A process that decoded images died, perhaps for want of memory; take fewer: --workers 1."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _on_one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _same_bytes(looks: Sequence[Look], splits: dict[Path, str], named: Callable[[Path], str]) -> list[Finding]:
    """Say which files have the bytes of one of another pair; within a pair, the pictures were compared."""
    first: dict[str, tuple[int, Seen]] = {}
    findings = []
    for number, result in enumerate(looks):
        for one in result.seen:
            if not one.sha256 or one.role == "map" or not one.file.stat().st_size:
                continue
            at, other = first.setdefault(one.sha256, (number, one))
            if at != number:
                findings.append(_repeated(one, other, splits, named, "duplicate", "has the same bytes as"))
    return findings


def _nearly_same(seen: Sequence[Seen], splits: dict[Path, str], named: Callable[[Path], str]) -> list[Finding]:
    marked = [one for one in seen if one.mark is not None]
    marks = np.array([one.mark for one in marked], dtype=np.uint8).reshape(-1, 16, 17)
    return [
        _repeated(marked[j], marked[i], splits, named, "nearly equal", f"shows nearly the same ({bits} of 256 bits) as")
        for i, j, bits in near_pairs(marks)
        if marked[i].sha256 != marked[j].sha256
    ]


def _repeated(
    one: Seen, other: Seen, splits: dict[Path, str], named: Callable[[Path], str], kind: str, how: str
) -> Finding:
    what = f"it {how} `{named(other.file)}`"
    both = {splits[one.file], splits[other.file]}
    if len(both) == 2 and "" not in both:
        return Finding(named(one.file), "leakage", f"{what}, which is in another split")
    return Finding(named(one.file), kind, what)
