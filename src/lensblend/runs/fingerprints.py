"""Which pairs a run was trained on, in a few bytes: so that it is noticed when its folders hold others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from lensblend.data.pairs import Source, Split
from lensblend.errors import DataError
from lensblend.runs.status_file import read_status

WHAT = {"train": "training", "val": "validation", "test": "test"}


def fingerprint(source: Source) -> dict[str, dict[str, Any]]:
    """Return how many pairs each split of a data set has, and a hash of their ids in their order."""
    found = {}
    splits = {name: source.split(name).ids for name in get_args(Split)}
    # Runs of earlier versions have noted none.
    for name, ids in {**splits, **({"test": source.test().ids} if source.test().ids else {})}.items():
        digest = hashlib.sha256("\0".join(ids).encode(errors="surrogatepass")).hexdigest()
        found[name] = {"count": len(ids), "sha256": digest}
    return found


def changes(known: Mapping[str, Any] | None, source: Source) -> list[str]:
    """Say in which splits a data set has other pairs than a run has noted; nothing where it noted none.

    Args:
        known: What `fingerprint` returned then.
        source: The data set now.
    """
    said = []
    for name, now in fingerprint(source).items():
        then = (known or {}).get(name)
        if then and then != now:
            counts = f"{then.get('count')} {WHAT[name]} pairs then, {now['count']} now"
            said.append(counts if then.get("count") != now["count"] else f"{counts}, of other names")
    return said


def changed_since(run_dir: Path, source: Source) -> str:
    """Return a sentence where a data set has other pairs than when a run was trained; empty where it has the same.

    Args:
        run_dir: The run's folder.
        source: The data set that it names, now.
    """
    try:
        said = changes(read_status(run_dir / "status.json").get("ids"), source)
    except (FileNotFoundError, DataError):
        return ""
    return f"Not the pairs that {run_dir} was trained with: {'; '.join(said)}." if said else ""
