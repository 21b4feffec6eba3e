"""Files and folders that a configuration names: they mean the same wherever the run is taken up again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lensblend.errors import DataError
from lensblend.runs.documents import read_yaml
from lensblend.runs.models import is_model

# Arguments that name a file or a folder to read from or to write to.
NAMES = (
    *("root", "photos", "targets", "val_photos", "val_targets", "test_photos", "test_targets"),
    *("masks", "disparities", "folder", "path", "test_list"),
    *("train_list", "val_list", "exclude", "weights", "cache", "init_from", "dirpath", "save_dir"),
)
WORDS = ("imagenet",)  # name no file where a file could be named
_ADDRESS = re.compile(r"\w{2,}:")  # of another machine


def placed(node: Any, base: Path, key: str = "") -> Any:
    """Return a configuration whose relative paths are whole: those of known arguments, and what exists by its path.

    Args:
        node: The configuration, or a part of it, as plain dicts.
        base: The folder that they are relative to.
        key: The node's own name.

    Example:
        >>> placed({"data": {"photos": "photos", "cache": None, "val_fraction": 0.1}}, Path("/home/me"))
        {'data': {'photos': '/home/me/photos', 'cache': None, 'val_fraction': 0.1}}
    """
    if isinstance(node, Mapping):
        # The path within `init_from` is what `init_from` alone would be.
        named = {"path": "init_from"} if key == "init_from" else {}
        return {name: placed(value, base, named.get(str(name), str(name))) for name, value in node.items()}
    if isinstance(node, list):
        # Excluded are ids, where they are listed.
        return [placed(value, base, "" if key == "exclude" else key) for value in node]
    if not isinstance(node, str) or not node or node in WORDS or "\0" in node or _ADDRESS.match(node):
        return node
    if node == "~" or node.startswith("~/"):
        whole = Path(node).expanduser() if key in NAMES else node
    elif key == "init_from" and is_model(node, base):
        whole = node
    else:
        # A class of somebody's own has arguments of its own.
        whole = base / node if key in NAMES or ("/" in node and _exists(base / node)) else node
    return str(whole)


def started_in(run_dir: Path) -> Path:
    """Return the folder from which a run was started, which Hydra noted; where it did not, the current one.

    Args:
        run_dir: The run's folder.
    """
    try:
        cwd = read_yaml(run_dir / ".hydra" / "hydra.yaml", as_typed=True)["hydra"]["runtime"]["cwd"]
    except (OSError, DataError, KeyError, TypeError):
        return Path.cwd()
    return Path(cwd) if isinstance(cwd, str) and Path(cwd).is_absolute() else Path.cwd()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that is no path: too long, or through a file
        return False
