"""Where runs lie below a folder."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path


def run_folders(folder: Path) -> list[Path]:
    """Return the folders of runs in and below a folder, in natural order; no link is followed."""
    return sorted(_walk(folder), key=natural)


def _walk(folder: Path) -> Iterator[Path]:
    """Go down to the folders of runs, and no further; a job that ended before it began has Hydra's files only."""
    for here, below, files in os.walk(folder):
        if "status.json" in files or (".hydra" in below and Path(here) != folder):
            yield Path(here)
            below.clear()
        below[:] = [name for name in below if not name.startswith(".")]


def natural(path: Path) -> list[tuple[int, str]]:
    """Return what paths are sorted by, so that numbers in them count as such.

    Example:
        >>> sorted(map(Path, ["a/10", "a/9"]), key=natural)
        [PosixPath('a/9'), PosixPath('a/10')]
    """
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def shown(path: Path) -> Path:
    """Return the shorter way to a folder: from here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links count as nothing, and are not followed."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            about = os.lstat(path)
            return about.st_size if stat.S_ISREG(about.st_mode) else 0
        with os.scandir(path) as entries:
            return sum(
                size_of(Path(entry.path))
                if entry.is_dir(follow_symlinks=False)
                else entry.stat(follow_symlinks=False).st_size * entry.is_file(follow_symlinks=False)
                for entry in entries
            )
    except OSError:  # removed meanwhile, or another user's
        return 0


def size_words(count: int) -> str:
    """Return a number of bytes in a few letters.

    Example:
        >>> [size_words(n) for n in (0, 999, 1_234, 56_789_012, 3_400_000_000)]
        ['0 B', '999 B', '1.2 kB', '57 MB', '3.4 GB']
    """
    size, units = float(count), ("B", "kB", "MB", "GB", "TB")
    unit = 0
    while size >= 999.5 and unit < len(units) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.1f} {units[unit]}" if unit and size < 9.95 else f"{size:.0f} {units[unit]}"
