"""Short, unique names for runs, from what differs between their configurations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lensblend.comparison.runs import Entry
from lensblend.runs.configuration import flat, is_free

# The first tags of a run, in their order: each is the option chosen in this group of the configuration.
GROUPS = ("kernels", "backbone", "model", "schedule", "data")
LONGEST = 60
_MISSING = object()


def label_entries(entries: Sequence[Entry]) -> list[str]:
    """Name each entry by what sets it apart: chosen options, then single values, then its folder, then its phase.

    Returns:
        One label per entry, all different.
    """
    folders = list(dict.fromkeys(entry.run_dir for entry in entries))
    first = {folder: next(entry for entry in entries if entry.run_dir == folder) for folder in folders}
    names = dict(zip(folders, _label_runs(list(first.values())), strict=True))
    phases = {entry.phase for entry in entries}
    if len(phases) == 1:
        return [names[entry.run_dir] for entry in entries]
    if len(folders) == 1:
        return [entry.phase for entry in entries]
    return [f"{names[entry.run_dir]} · {entry.phase}" for entry in entries]


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys in which configurations differ, each with its values, one per configuration.

    Keys that say where or how fast, not what is learned, are left out; and of keys that always change together, because
    one is a copy of the other, the first of the shortest is kept.

    Example:
        >>> sizes = [{"kernels": {"sizes": s}, "model": {"bank": {"sizes": s}}, "run_dir": s} for s in ("a", "b")]
        >>> differences(sizes)
        {'kernels.sizes': ['a', 'b']}
    """
    flattened = [flat(config) for config in configs]
    keys = dict.fromkeys(key for config in flattened for key in config)
    kept: dict[str, list[Any]] = {}
    seen: dict[str, str] = {}
    for key in sorted(keys, key=lambda key: (key.count("."), list(keys).index(key))):
        values = [config.get(key, _MISSING) for config in flattened]
        marks = [json.dumps(value, default=str) if value is not _MISSING else "" for value in values]
        if is_free(key) or len(set(marks)) == 1 or seen.setdefault(json.dumps(marks), key) != key:
            continue
        kept[key] = [None if value is _MISSING else value for value in values]
    return kept


def _label_runs(entries: Sequence[Entry]) -> list[str]:
    if len(entries) == 1:
        return [entries[0].run_dir.name]
    varying = differences([entry.config for entry in entries])
    parts, explained = _tag_parts([entry.tags for entry in entries])
    own = {k: v for k, v in varying.items() if not any(k.startswith(f"{group}.") for group in explained)}
    hidden = {k: v for k, v in varying.items() if k not in own}
    for key, values in [*own.items(), *hidden.items()]:
        # Values below a group whose option is named already are needed only where the option does not tell runs apart.
        name = _short_name(key, list(varying))
        longer = [[*part, f"{name}={short_value(value)}"] for part, value in zip(parts, values, strict=True)]
        if key in own or len(set(map(tuple, longer))) > len(set(map(tuple, parts))):
            parts = longer
    labels = [" · ".join(part) for part in parts]
    folders = [_folder_name(entry, entries) for entry in entries]
    labels = [label if 0 < len(label) <= LONGEST else folder for label, folder in zip(labels, folders, strict=True)]
    counts = Counter(labels)
    return [
        label if counts[label] == 1 else f"{label} · {folder}" for label, folder in zip(labels, folders, strict=True)
    ]


def _tag_parts(tags: Sequence[tuple[str, ...]]) -> tuple[list[list[str]], list[str]]:
    """Return the options in which runs differ, and the groups that these options explain."""
    parts: list[list[str]] = [[] for _ in tags]
    if min(len(own) for own in tags) < len(GROUPS):
        return parts, []
    explained = [group for i, group in enumerate(GROUPS) if len({own[i] for own in tags}) > 1]
    for part, own in zip(parts, tags, strict=True):
        part.extend(own[GROUPS.index(group)] for group in explained)
    return parts, explained


def _short_name(key: str, keys: Sequence[str]) -> str:
    """Return the end of a dotted key that no other key shares."""
    parts = key.split(".")
    ends = (".".join(parts[-n:]) for n in range(1, len(parts) + 1))
    return next(end for end in ends if sum(k == end or k.endswith(f".{end}") for k in keys) == 1)


def short_value(value: Any) -> str:
    """Return a value of a configuration as labels and tables write it.

    Example:
        >>> short_value([25, 0.5]), short_value(None), short_value("lensblend.networks.depth_blend.DepthBlend")
        ('25,0.5', 'none', 'DepthBlend')
    """
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ",".join(short_value(item) for item in value)
    text = "none" if value is None else str(value)
    return text.rsplit(".", 1)[-1] if text.startswith(("lensblend.", "torch.")) else text


def _folder_name(entry: Entry, entries: Sequence[Entry]) -> str:
    """Return the end of a run's path that no other run shares."""
    parts = entry.run_dir.resolve().parts
    others = [other.run_dir.resolve().parts for other in entries if other.run_dir != entry.run_dir]
    ends = (n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in others))
    return "/".join(parts[-next(ends, len(parts)) :])
