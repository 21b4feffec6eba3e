"""What is asked of scoring, what is known of a scored run, and how what was kept of it is read again."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

import torch

from lensblend.data.regular_files import read_text
from lensblend.errors import DataError
from lensblend.inference.evaluation import Scores
from lensblend.inference.pictures import ENCODED
from lensblend.inference.rendering import BlendAt
from lensblend.metrics.per_image import PerImageMetric
from lensblend.runs.documents import read_json


@dataclass(frozen=True)
class Request:
    """How runs are scored.

    Attributes:
        metrics: By name.
        device: Where the network runs.
        blend_at: See `lensblend.inference.rendering.render_photo`.
        score_at: ``photo`` (the pairs' own size) or ``network`` (both resized to the network's size first).
        limit: Score the first so many pairs; None scores all.
        pictures: Keep the pictures of the first so many pairs.
        weights: SHA-256 of the files of weights that were named, by the option that names them.
        again: Score also what has been scored before.
        analysis: Also measure the renderings, see `lensblend.comparison.studies.measures`.
        focus: The node of the source of maps of focus, which metrics of it need.
        tta: See `lensblend.inference.flipped.augmented`.
        split: ``val`` or ``test``.
    """

    metrics: Mapping[str, PerImageMetric]
    device: torch.device
    blend_at: BlendAt = "network"
    score_at: str = "photo"
    limit: int | None = None
    pictures: int = 24
    weights: Mapping[str, str] = field(default_factory=dict)
    again: bool = False
    analysis: bool = False
    focus: Mapping[str, Any] | None = None
    tta: str = "none"
    split: str = "val"


@dataclass(frozen=True)
class Scored:
    """What is known of one entry.

    Attributes:
        scores: By image id, then by metric.
        contents: By image id, a hash of the pair's pixels as they were scored.
        about: What was scored and how; see `_about`.
        folder: Holds the pictures of the first pairs.
        measures: By image id, then by measure; empty where they were not asked for.
    """

    scores: dict[str, Scores]
    contents: dict[str, str]
    about: dict[str, Any]
    folder: Path
    measures: dict[str, Scores] = field(default_factory=dict)

    def picture(self, index: int, weight: int | None = None) -> Path:
        """Return the file of a pair's rendering, or of one of its weight maps."""
        stem = f"{index:04d}" if weight is None else f"{index:04d}-W{weight}"
        files = [self.folder / f"{stem}.{suffix}" for suffix in ENCODED]
        return next((file for file in files if file.is_file() and not file.is_symlink()), files[0])


def read_kept(
    folder: Path, about: Mapping[str, Any], stamps: Mapping[str, str], request: Request
) -> tuple[Scored | None, str]:
    """Return what a run's folder holds, or why it cannot be used.

    Args:
        folder: Where scores were kept.
        about: All that decides them.
        stamps: By image id, in order, what changes with its files.
        request: What is asked for.
    """
    if not os.path.isfile(folder / "about.json"):  # False also where it may not be looked at
        return None, "new"
    if request.again:
        return None, "new, as asked for"
    try:
        content = read_json(folder / "about.json")
        rows = _read_csv(folder / "scores.csv")[: len(stamps)]
        scores = {
            row["id"]: {n: _value(row[n], metric.may_lack) for n, metric in request.metrics.items()} for row in rows
        }
        kept = Scored(scores, {row["id"]: row["content"] for row in rows}, content, folder)
        files = {row["id"]: row["files"] for row in rows}
        changed = [key for key, value in about.items() if not _fits(key, value, content.get(key))]
        if request.analysis and not changed:
            for row in _read_csv(folder / "measures.csv")[: len(stamps)]:
                kept.measures[row["id"]] = {name: float(value) for name, value in row.items() if name != "id"}
        maps = range(len(content["maps"]))
        if not _is_about(content):
            raise DataError(f"{folder / 'about.json'} is damaged.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return None, "new: what was kept is damaged or of other metrics"
    wanted = range(min(len(stamps), request.pictures))
    reasons = {
        f"kept scores have another {', '.join(changed)}": bool(changed),
        "kept scores are of other images": list(scores) != list(stamps)
        or (request.analysis and list(kept.measures) != list(stamps)),
        "images have changed since they were scored": files != stamps,
        "pictures are missing": not all(kept.picture(i, w).is_file() for i in wanted for w in (None, *maps)),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    return (None, f"new: {reason}") if reason else (kept, "kept")


def _is_about(content: Mapping[str, Any]) -> bool:
    """Tell whether what was measured beside the scores is of the types that tables and pages are made of."""
    numbers = [content.get(key) for key in ("parameters", "seconds", "macs")]
    sides = content["image_size"]
    return (
        all(number is None or (isinstance(number, int | float) and number >= 0) for number in numbers)
        and isinstance(content["parameters"], int)
        and len(sides) == 2
        and all(isinstance(side, int) and side > 0 for side in sides)
        and all(isinstance(caption, str) for caption in content["maps"])
        and all(isinstance(number, int | float) and number > 0 for number in content.get("f_numbers", {}).values())
        and all(isinstance(content.get(key) or "", str) for key in ("device", "hardware", "phase"))
    )


def _fits(key: str, wanted: Any, kept: Any) -> bool:
    """Tell whether a kept value serves; metrics beyond those that are wanted do no harm."""
    if key == "conventions":
        return all((kept or {}).get(name) == convention for name, convention in wanted.items())
    if key == "guidance":
        return bool(wanted == (kept or {}))
    # Of what none of the wanted metrics looks at, any does.
    return wanted == kept or (wanted is None and (key == "focus" or key.endswith("_weights_sha256")))


def _value(text: str, may_lack: bool) -> float:
    return nan if may_lack and text == "" else float(text)


def _read_csv(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_text(file))))
