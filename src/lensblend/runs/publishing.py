"""What of a checkpoint's record leaves this machine with its weights: nothing that tells of the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lensblend.runs.configuration import FREE_KEYS, is_below
from lensblend.runs.hub import is_address
from lensblend.runs.places import NAMES
from lensblend.runs.redaction import redact

# Parts of a record that say what the network is; where a training stood is not among them.
PARTS = ("format", "phase", "image_size", "config_hash", "versions", "commits")
# Of the keys that may differ when a run is continued: which phase came last.
_KEPT = ("schedule.run",)
_ROOT = r"(?:~?/|file:/|[A-Za-z]:\\)"
_WITHIN = re.compile(rf"(?<![\w.~/\\:]){_ROOT}[^\s'\",:=\[\](){{}}]+")


def published(record: Mapping[str, Any], config: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a network that is handed on.

    Of the configuration, what decides the result is kept (`lensblend.runs.configuration`); of paths, their names; of
    secrets, nothing. ``config_hash`` is still that of the configuration as it was.

    Args:
        record: What a checkpoint says of itself.
        config: Its configuration.
        card: What else is to be known of the network: texts and numbers by name.
    """
    parent = dict(record.get("parent") or {})
    if parent.get("path") and not is_address(parent["path"]):
        parent["path"] = Path(parent["path"]).name
    return {
        **{key: record[key] for key in PARTS if key in record},
        "network": redact(without_places(record["network"])),
        "config": yaml.safe_dump(redact(without_places(_decisive(config))), sort_keys=False),
        "parent": parent,
        "card": redact(without_places(card)),
    }


def _decisive(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration without the keys that may differ when a run is continued."""
    kept: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in _KEPT or not is_below(name, FREE_KEYS):
            kept[key] = _decisive(value, f"{name}.") if isinstance(value, Mapping) else value
    return kept


def without_places(node: Any, key: str = "") -> Any:
    """Return nested plain values in which paths are no more than the names of their files or folders.

    Args:
        node: Mappings, lists and plain values.
        key: The key that ``node`` stands under; below those of `lensblend.runs.places` each text is a path.

    Example:
        >>> without_places({"photos": "../me/my photos", "note": "as in /home/me/run", "share": "1/2"})
        {'photos': 'my photos', 'note': 'as in run', 'share': '1/2'}
    """
    if isinstance(node, Mapping):
        return {name: without_places(value, str(name)) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_places(value, key) for value in node]
    if not isinstance(node, str):
        return node
    if is_address(node):
        return node
    if key in NAMES or re.match(_ROOT, node):
        return _name(node)
    return _WITHIN.sub(lambda found: _name(found[0]), node.replace(str(Path.home()), "~"))


def _name(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
