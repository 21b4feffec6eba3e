"""Plain values from files of unknown origin: YAML, JSON and checkpoints' records, bounded and never resolved."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lensblend.data.regular_files import read_text
from lensblend.errors import DataError, short

DEEPEST = 64  # mappings and lists within each other
MOST_VALUES = 100_000
YAML_LIMIT = 2**20  # characters; a configuration has ten thousand
_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_plain(document: Any, source: str | Path, as_typed: bool = False) -> None:
    """Refuse what is more than mappings, lists, texts, numbers, truth values and nothing.

    Whatever walks through the document afterwards comes to an end: it is a tree of bounded size and depth.

    Args:
        document: What was read.
        source: Its file, for messages.
        as_typed: Whether texts may hold interpolations, because they are what somebody typed and are compared only.

    Raises:
        DataError: It holds something else, an interpolation (``${...}``, which is never resolved in a file), a key that
            is no text, or itself; or it is too large.

    Example:
        >>> check_plain({"sizes": [25, "${oc.env:HOME}"]}, "config.yaml")
        Traceback (most recent call last):
        lensblend.errors.DataError: config.yaml: `sizes[1]` is '${oc.env:HOME}', but interpolations are not resolved \
here; write the value itself.
    """
    waiting: list[tuple[Any, str, int]] = [(document, "", 0)]
    count = 0
    while waiting:
        node, path, depth = waiting.pop()
        count += 1
        if count > MOST_VALUES or depth > DEEPEST:
            what = f"holds more than {MOST_VALUES:,} values" if depth <= DEEPEST else f"is nested over {DEEPEST} deep"
            raise DataError(f"{source} {what}, which no configuration does; it may be damaged or of other origin.")
        if isinstance(node, Mapping):
            for key, value in node.items():
                if not isinstance(key, str) or ("${" in key and not as_typed):
                    raise DataError(f"{source}: `{path or 'the top'}` has the key {short(key)}; keys are plain texts.")
                waiting.append((value, f"{path}.{key}" if path else key, depth + 1))
        elif isinstance(node, list | tuple):
            waiting.extend((value, f"{path}[{index}]", depth + 1) for index, value in enumerate(node))
        elif isinstance(node, str):
            if "${" in node and not as_typed:
                raise DataError(
                    f"{source}: `{path}` is {short(node)}, but interpolations are not resolved here; write "
                    "the value itself."
                )
        elif not isinstance(node, int | float | None):
            raise DataError(
                f"{source}: `{path or 'the top'}` is of type {type(node).__name__}; texts, numbers, lists and "
                "mappings can stand there."
            )


def parse_yaml(text: str, source: str | Path, as_typed: bool = False) -> Any:
    """Return the plain values of a YAML text; see `check_plain`.

    Raises:
        DataError: It is no YAML, too long, or unfolds to too much.
    """
    if not isinstance(text, str) or len(text) > YAML_LIMIT:
        what = f"over {YAML_LIMIT:,} characters long" if isinstance(text, str) else f"of type {type(text).__name__}"
        raise DataError(f"{source} is damaged: it is {what}, not the text of a configuration.")
    try:
        # The fast one refuses a file's name that is no UTF-8, which is written as such escapes.
        loader = yaml.SafeLoader if re.search(r"\\u[dD][c-fC-F]", text) else _YAML
        _check_unfolded(text, source, loader)
        document = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{source} is damaged ({reason}); restore it.") from None
    check_plain(document, source, as_typed)
    return document


def _check_unfolded(text: str, source: str | Path, loader: Any) -> None:
    """Count what a YAML text unfolds to, event by event, before anything is built of it."""
    sizes: dict[str, int] = {}
    # For each collection that is open: its anchor and how many values it holds so far.
    open_: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise DataError(f"{source} is damaged: `*{event.anchor}` stands within what it names, or before it.")
            size = sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, 1))
            size = 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
            if anchor is not None:
                sizes[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if event.anchor is not None:
                sizes[event.anchor] = size
        else:
            continue
        anchor, held = open_[-1]
        open_[-1] = (anchor, held + size)
        # Keys count as well here.
        if held + size > 2 * MOST_VALUES or len(open_) > DEEPEST + 2:
            raise DataError(f"{source} unfolds to more than a configuration can be; it may be damaged or hostile.")


def read_yaml(path: Path, as_typed: bool = False) -> Any:
    """Read a YAML file; see `parse_yaml`.

    Raises:
        FileNotFoundError: There is nothing of that name.
        DataError: It is no regular file, or no YAML of bounded size.
    """
    return parse_yaml(read_text(path), path, as_typed)


def read_json(path: Path) -> Any:
    """Read a JSON file as plain values; texts may hold ``${...}``, which means nothing in JSON.

    Raises:
        FileNotFoundError: There is nothing of that name.
        DataError: It is no regular file, no JSON, or too large.
    """
    text = read_text(path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is damaged ({reason}); restore it.") from None
    check_plain(document, path, as_typed=True)
    return document
