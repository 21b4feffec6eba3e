"""Where scores and pictures of a run are kept from one comparison to the next."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from lensblend.caches import Cache, cache_folder
from lensblend.comparison.runs import Entry
from lensblend.runs.files import below


def places(entry: Entry) -> list[Path]:
    """Return the folders where scores of an entry may lie; the last is where new ones go.

    That is in the run's own folder; of a run that is another user's, or read-only, in this user's cache.
    """
    in_run = below(below(entry.run_dir, "compare"), entry.phase)
    if all(_may_write(place) for place in (entry.run_dir, in_run.parent, in_run) if os.path.exists(place)):
        return [in_run]
    name = hashlib.sha256(os.fsencode(entry.run_dir.resolve())).hexdigest()[:16]
    return [in_run, Cache(cache_folder("compare"), f"{name}/{entry.phase}").folder]


def _may_write(folder: Path) -> bool:
    """Tell whether a folder is this user's own and open to them; for root all are open, and most are others'."""
    about = folder.stat()
    return about.st_uid == os.geteuid() and bool(about.st_mode & stat.S_IWUSR) and os.access(folder, os.W_OK)
