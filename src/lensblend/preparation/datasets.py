"""From an archive or a folder of a known layout to a data set that a training reads, with lists, hashes and quality."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lensblend.data.catalogue import EBB_LAYOUTS
from lensblend.data.files import raise_all
from lensblend.data.listing import SUFFIXES
from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, RequestError
from lensblend.preparation.archives import Contents, is_archive, look, unpack
from lensblend.preparation.layouts import (
    PUBLISHED,
    PUBLISHED_FILES,
    VAL_FRACTION,
    DataSet,
    find_layout,
    open_layout,
)
from lensblend.preparation.placing import Measured, Placed, Placing, Progress, Track, measure_all, place_all, places
from lensblend.preparation.quality import LEAST_GAIN, LEAST_LIKENESS, MOST_EXPOSURE, MOST_RESIDUAL
from lensblend.runs.messages import say
from lensblend.storage import check_writable, json_text, real, remove, write_atomically

RECORD = "prepared.json"
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        source: Archive or folder; it is never written to.
        output: A new or empty folder, or one of an earlier attempt, which is gone on with.
        layout: Of the source; None finds it.
        copy: Whether files of a folder are copied; otherwise linked.
        quality: Whether pairs are measured.
        workers: Threads.
    """

    source: Path
    output: Path
    layout: str | None = None
    copy: bool = False
    quality: bool = True
    workers: int = 1

    def told(self) -> dict[str, Any]:
        """Return what makes an earlier attempt the same request."""
        status = self.source.stat()
        stamp = None if self.source.is_dir() else [status.st_size, status.st_mtime_ns]
        return {
            "source": str(real(self.source)),
            "stamp": stamp,
            "layout": self.layout,
            "copy": self.copy,
            "quality": self.quality,
        }


def plan(request: Request) -> None:
    """Say what would be done, and write nothing.

    Raises:
        RequestError: The source has no known layout, or the output is in the way.
        DataError: The archive, names or headers of its images are not as they should be.
    """
    _check(request)
    if request.source.is_dir():
        _introduce(_opened(request.source, request.layout))
        return
    contents = look(request.source)
    _say_left_out(contents)
    with tempfile.TemporaryDirectory() as names:
        for name in contents.files:
            path = Path(names, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        folder, layout = find_layout(Path(names), request.layout)
    where = folder.relative_to(names)
    say(
        f"Layout: {layout}, in `{where}` of the archive; {len(contents.files)} images and lists would be unpacked, "
        f"{_size(sum(contents.files.values()))}."
    )


def prepare(request: Request, track: Track) -> None:
    """Prepare a data set; what an earlier attempt has finished stays.

    Raises:
        RequestError: As of `plan`; or the output holds something else.
        DataError: As of `plan`.
        StorageError: There is no room for it, or no permission to write.
    """
    _check(request)
    check_writable(request.output)
    if _is_finished(request):
        say(f"`{request.output}` is prepared already; nothing to do.")
        return
    source, how, unpacked = request.source, _how(request), None
    if not source.is_dir():
        # Another archive's attempt lies elsewhere.
        mark = hashlib.sha256(json_text(request.told()).encode()).hexdigest()[:8]
        unpacked = request.output.absolute().with_name(f".{request.output.name}.{mark}.unpacked")
        _say_left_out(unpack(source, unpacked, lambda members, count: track(members, count, "Unpacking")))
        source = unpacked
    try:
        data = _opened(source, request.layout)
        done = Progress(request.output, request.told())
    except (DataError, RequestError):
        if unpacked is not None:
            shutil.rmtree(unpacked, ignore_errors=True)
        raise
    _introduce(data)
    place_all(places(data), request.output, how, request.workers, done, track)
    if request.quality:
        measure_all(data.pairs, request.workers, done, track)
    _conclude(request, data, done)
    if unpacked is not None:
        shutil.rmtree(unpacked, ignore_errors=True)


def _check(request: Request) -> None:
    if not request.source.exists():
        raise RequestError(f"`{request.source}` is not there; name an archive or a folder.")
    if not request.source.is_dir() and not is_archive(request.source):
        raise RequestError(f"`{request.source}` is neither a folder nor a zip or tar archive; name one.")
    source, output = real(request.source), real(request.output)
    if request.source.is_dir() and (source == output or source in output.parents or output in source.parents):
        raise RequestError(
            f"--output `{request.output}` and `{request.source}` lie in each other; name another folder."
        )


def _how(request: Request) -> Placing:
    if not request.source.is_dir():
        return "move"
    return "copy" if request.copy else "link"


def _is_finished(request: Request) -> bool:
    record = request.output / RECORD
    if not record.is_file():
        return False
    if json.loads(read_text(record)).get("request") != request.told():
        raise RequestError(f"`{request.output}` holds another data set; name another --output or remove it.")
    return True


def _opened(source: Path, layout: str | None) -> DataSet:
    folder, found = find_layout(source, layout)
    data = open_layout(folder, found)
    raise_all(list(data.problems), f"`{folder}` (layout {found})")
    if not data.pairs:
        raise RequestError(f"`{folder}` (layout {found}) holds no pair; name another folder, or another --layout.")
    return data


def _say_left_out(contents: Contents) -> None:
    if contents.left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(contents.left_out.items()))
        say(f"Left in the archive, neither images nor lists: {kinds}.")


def _introduce(data: DataSet) -> None:
    wanted, counts = places(data), Counter(data.parts[pair.id] or "in no split" for pair in data.pairs)
    size = sum(place.source.stat().st_size for place in wanted)
    shares = ", ".join(f"{counts[name]} {name}" for name in ("train", "val", "test", "in no split") if counts[name])
    scenes = f" of {len(set(data.scenes.values()))} scenes" if data.scenes else ""
    say(
        f"Layout: {data.layout}, in `{data.folder}`: {len(data.pairs)} pairs{scenes} ({shares}), {len(wanted)} files, "
        f"{_size(size)}."
    )
    for part, published in PUBLISHED.get(data.layout, {}).items():
        if counts[part] != published:
            say(f"Published: {published} pairs in {part}; here: {counts[part]}.")
    if data.layout in PUBLISHED_FILES:
        say(f"Published: {PUBLISHED_FILES[data.layout]:,} images; here: {len(wanted)}.")
    used = {place.source for place in wanted}
    others = [p for p in data.folder.rglob("*") if p.suffix.lower() in SUFFIXES and p not in used and p.is_file()]
    if others:
        say(f"{len(others)} images belong to no pair and are left out, such as `{min(others)}`.")


def _conclude(request: Request, data: DataSet, done: Progress) -> None:
    output = request.output
    rows = [done.files[place.file] for place in places(data)]
    write_atomically(output / MANIFEST, _table([asdict(row) for row in rows], [f.name for f in fields(Placed)]))
    names = dict.fromkeys((data.scenes[p.id] if data.scenes else p.id, data.parts[p.id]) for p in data.pairs)
    for part in ("train", "val", "test"):
        write_atomically(output / f"{part}.csv", "".join(f"{_cell(name)}\n" for name, of in names if of == part))
    if request.quality:
        measured = [done.pairs[pair.id] for pair in data.pairs]
        table = _table([asdict(row) for row in measured], [field.name for field in fields(Measured)])
        write_atomically(output / "quality.csv", table)
        proposed = [row for row in measured if row.problems]
        write_atomically(output / "exclude.txt", _exclusions(proposed))
        say(
            f"Quality: {len(proposed)} of {len(measured)} pairs are doubtful; exclude.txt proposes to leave them out, "
            f"which `data.exclude={output / 'exclude.txt'}` does."
        )
    total = sum(row.bytes for row in rows)
    kept = {"layout": data.layout, "pairs": len(data.pairs), "files": len(rows), "bytes": total}
    write_atomically(output / RECORD, json_text({"request": request.told(), **kept}) + "\n")
    remove(done.path)
    if "val" not in data.parts.values():
        say("No pair validates; lists of your own can say which: data.train_list=FILE data.val_list=FILE.")
    said = f"Prepared {len(data.pairs)} pairs, {len(rows)} files, {_size(total)}"
    say(f"{said}: lensblend train {_command(data, output)}")


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def _exclusions(proposed: Sequence[Measured]) -> str:
    lines = [
        "# Proposed, not applied: data.exclude=FILE leaves these pairs out. By these thresholds:",
        f"# what is in focus lies apart by more than {MOST_RESIDUAL:.1%} of the width;",
        f"# exposure differs by more than {MOST_EXPOSURE:g} stops; the photo is less than {LEAST_GAIN:.2f} times as",
        f"# sharp; brightness correlates by less than {LEAST_LIKENESS:g} and nothing matches; the target is the photo.",
    ]
    for row in proposed:
        lines += [f"# {row.problems}", _cell(row.id)]
    return "\n".join(lines) + "\n"


def _command(data: DataSet, output: Path) -> str:
    lists = f" data.train_list={output / 'train.csv'} data.val_list={output / 'val.csv'}"
    if data.scenes:
        return f"data=realbokeh data.root={output}{lists}"
    if data.layout == "suffixes":
        folders = [output / "Training" / kind for kind in ("original", "bokeh")]
        return f"data=folder data.photos={folders[0]} data.targets={folders[1]} data.val_fraction={VAL_FRACTION}"
    return f"data=ebb data.root={output}{'' if data.layout in EBB_LAYOUTS else lists}"


def _table(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(name: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([name])
    return text.getvalue()
