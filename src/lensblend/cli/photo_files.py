"""Which photos ``lensblend render`` renders, and into which files."""

from __future__ import annotations

import argparse
import mimetypes
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lensblend.data.listing import (
    FORMATS,
    SUFFIXES,
    WRITTEN,
    format_of,
    images_in,
    passed_over,
    rendered_name,
    subfolders,
)
from lensblend.errors import DataError, RequestError, StorageError
from lensblend.runs.messages import say
from lensblend.storage import check_writable, fitting, real

STREAM = Path("-")
END = "-bokeh"
_LARGEST_STREAM = 2**30  # bytes
_LISTED = 5


@dataclass(frozen=True)
class Job:
    """One photo to render.

    Attributes:
        name: What it is called in messages: its path as it was found, or ``stdin``.
        source: The file to read.
        target: The file to write; ``-`` for standard output.
        maps: The file that maps are called after, which lie beside the target: weights, depth.
        single: Whether the target was named as one file, or is standard output.
    """

    name: str
    source: Path
    target: Path
    maps: Path
    single: bool = False

    @property
    def image_format(self) -> str:
        """Name of the format that the target's suffix, or for standard output the maps' suffix, stands for."""
        return str(format_of((self.maps if self.target == STREAM else self.target).suffix))

    def map_file(self, name: str) -> Path:
        """Return where a map of this name is written."""
        return self.maps.with_name(fitting(self.maps.stem, f"-{name}.png"))


def streams_out(arguments: argparse.Namespace) -> bool:
    """Tell whether a picture goes to standard output: as asked, or as a photo on standard input does by itself."""
    return arguments.output == STREAM or (arguments.output is None and STREAM in arguments.photos)


def jobs_of(arguments: argparse.Namespace, spool: Path | None) -> list[Job]:
    """Return what is to be rendered, as the command line says it.

    What is passed over in folders is said: formats that are not read, subfolders without ``--recursive``, what this
    verb wrote before.

    Args:
        arguments: Of ``lensblend render``.
        spool: A folder to which a photo on standard input is copied, where one is named.

    Raises:
        RequestError: A photo does not exist, several would be written to one file, a photo would be overwritten, or
            the output cannot be what it is to be.
        DataError: A folder holds no photo, or standard input none.
    """
    output, single = arguments.output, _is_single(arguments.output, arguments.format)
    gone = [path for path in arguments.photos if path != STREAM and not path.exists()]
    problems = [f"{path} does not exist; check the path" for path in gone]
    if arguments.photos.count(STREAM) > 1:
        problems.append("`-` is one photo, which standard input holds; name it once")
    if problems:
        raise RequestError("\n".join(problems))
    found = [entry for path in arguments.photos for entry in _photos(path, arguments.recursive, output)]
    sources = list(dict.fromkeys(found))
    if single and len(sources) != 1:
        what = "standard output takes" if output == STREAM else f"`{output}` is"
        raise RequestError(f"{what} one picture, but there are {len(sources)} photos; give `--output` a folder.")
    if streams_out(arguments) and os.isatty(1):
        raise RequestError("Standard output is a terminal, which shows no pictures; add > FILE, or `--output FILE`.")
    jobs = [_job(source, folder, output, single, arguments.format, spool) for source, folder in sources]
    _check_targets(jobs)
    for place in dict.fromkeys(job.target.parent for job in jobs if job.target != STREAM):
        check_writable(place)
    return jobs


def _is_single(output: Path | None, image_format: str | None) -> bool:
    """Tell whether ``--output`` names one file rather than a folder, or standard output."""
    if output is None:
        return False
    if output == STREAM:
        return True
    known = format_of(output.suffix)
    if output.is_dir():
        return False
    if known is None and (mimetypes.guess_type(output.name)[0] or "").startswith("image/"):
        raise RequestError(
            f"`{output}` ends in {output.suffix}, which is not written; use one of {', '.join(WRITTEN)}."
        )
    if known is not None and image_format not in (None, known):
        raise RequestError(
            f"`{output}` is no {image_format} by its suffix; leave out `--format`, or name it otherwise."
        )
    return known is not None


def _photos(path: Path, recursive: bool, output: Path | None) -> Iterable[tuple[Path, Path]]:
    """Return the photos that one argument stands for, each with the folder below which it was found."""
    if path == STREAM or not path.is_dir():
        return [(path, path.parent)]
    from lensblend.data.originals import is_rendering

    folders, photos, notes = [path], [], []
    beside = set() if output is None or output == STREAM else {real(output)}
    for folder in folders:
        try:
            below, images, others = subfolders(folder), images_in(folder), passed_over(folder)
        except OSError as error:
            notes.append((folder, f"which cannot be read ({error.strerror})"))
            continue
        stems = {image.stem for image in images}
        ours = [i for i in images if (i.stem.endswith(END) and i.stem.removesuffix(END) in stems) or is_rendering(i)]
        photos += [image for image in images if image not in ours]
        notes += [(file, "of a format that is not read; convert it to PNG or JPEG") for file in others]
        notes += [(file, "which lensblend has rendered already; name the file itself to render it") for file in ours]
        if recursive:
            # What goes into a folder within the photos' is not taken for photos the next time.
            folders += [entry for entry in below if real(entry) not in beside]
        else:
            notes += [(entry, "a subfolder; add --recursive") for entry in below]
    _say_passed_over(notes)
    if not photos:
        raise DataError(f"`{path}` holds no photo to render; add files that end in one of {', '.join(SUFFIXES)}.")
    return [(photo, path) for photo in photos]


def _say_passed_over(notes: Iterable[tuple[Path, str]]) -> None:
    """Say what was passed over, the first few of each kind by name."""
    by_reason: dict[str, list[Path]] = {}
    for path, reason in notes:
        by_reason.setdefault(reason, []).append(path)
    for reason, paths in by_reason.items():
        for path in paths[:_LISTED]:
            say(f"Passed over: {path}, {reason}")
        if len(paths) > _LISTED:
            say(f"Passed over: {len(paths) - _LISTED} more like it")


def _job(
    source: Path, folder: Path, output: Path | None, single: bool, image_format: str | None, spool: Path | None
) -> Job:
    name = str(source)
    if source == STREAM:
        name, source = "stdin", _spooled(spool or Path())
        output = STREAM if output is None else output
        single = single or output == STREAM
    suffix = Path(rendered_name(source)).suffix
    if image_format not in (None, format_of(suffix)):
        suffix = FORMATS[str(image_format)][0]
    if output == STREAM:
        return Job(name, source, STREAM, Path(f"stdout{suffix}"), True)
    if output is None:
        return Job(name, source, source.with_name(fitting(source.stem, f"{END}{suffix}")), source)
    if single:
        return Job(name, source, output, output, True)
    # What lies below a folder that was named lies alike below the output.
    below = Path() if name == "stdin" else source.parent.relative_to(folder)
    target = output / below / f"{source.stem}{suffix}"
    return Job(name, source, target, target)


def _spooled(spool: Path) -> Path:
    """Copy standard input to a file, whose suffix is that of its format."""
    from lensblend.data.originals import suffix_of

    if sys.stdin is not None and sys.stdin.isatty():
        raise RequestError("`-` reads a photo from standard input, which is a terminal; add < FILE, or name the file.")
    file = spool / "stdin"
    try:
        with open(0, "rb", closefd=False) as stream:
            content = stream.read(_LARGEST_STREAM + 1)
    except OSError as error:
        raise DataError(f"Standard input cannot be read ({error.strerror}); add < FILE, or name the file.") from error
    if len(content) > _LARGEST_STREAM:
        raise DataError(f"Standard input holds more than {_LARGEST_STREAM:,} bytes, which no photo needs; name a file.")
    if not content:
        raise DataError("Standard input is empty; add < FILE, or name the file.")
    try:
        file.write_bytes(content)
    except OSError as error:
        raise StorageError(
            f"{file} could not be written ({error.strerror}); set TMPDIR to a folder with space."
        ) from error
    try:
        return file.rename(file.with_suffix(suffix_of(file)))
    except DataError as error:
        raise DataError(str(error).replace(str(file), "stdin")) from error


def _check_targets(jobs: Iterable[Job]) -> None:
    """Refuse targets that are a photo, a folder, or the target of another photo.

    Raises:
        RequestError: All that is wrong, a line each.
    """
    jobs, problems, taken = list(jobs), [], dict[Path, Job]()
    photos = {real(job.source): job for job in jobs}
    for job in jobs:
        if job.target == STREAM:
            continue
        place = real(job.target)
        if place == real(job.source):
            problems.append(f"{job.name} would be overwritten by its rendering; choose another --output")
        elif place in photos:
            problems.append(f"{photos[place].name} would be overwritten by the rendering of {job.name}; rename a photo")
        elif place in taken and real(taken[place].source) != real(job.source):
            problems.append(f"{job.name} and {taken[place].name} would both be written to {job.target}")
        elif job.target.is_dir():
            problems.append(f"{job.target} is a folder; move it, or choose another --output")
        taken[place] = job
    if problems:
        raise RequestError("\n".join(problems))


def kept_back(files: Iterable[Path], overwrite: bool) -> None:
    """Refuse to replace files that are there.

    Args:
        files: That would be written.
        overwrite: Whether they may be replaced.

    Raises:
        RequestError: One of them is there, and may not.
    """
    there = [] if overwrite else [file for file in files if os.path.lexists(file)]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise RequestError(
            f"{there[0]}{more} would be replaced; add --overwrite, leave what is there with --skip-existing, or choose "
            "another --output."
        )
