"""Runs are compared on the same images only: their data, their ids and every pixel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lensblend.comparison.runs import Entry
from lensblend.comparison.scored import Scored
from lensblend.comparison.scoring import SPLITS, data_differences
from lensblend.data.pairs import Pairs
from lensblend.errors import DataError, RequestError
from lensblend.runs.fingerprints import changed_since
from lensblend.runs.messages import say
from lensblend.runs.recorded import recorded_data


def shared_pairs(
    entries: Sequence[Entry], labels: Sequence[str], limit: int | None, split: str = "val"
) -> dict[Path, Pairs]:
    """Build each run's validation or test split, equal ones once, and refuse runs that have other images there."""
    built: dict[str, Pairs] = {}
    pairs: dict[Path, Pairs] = {}
    for entry, label in zip(entries, labels, strict=True):
        node = entry.config["data"]
        found = data_differences(entries[0].config["data"], node, split)
        if found:
            said = ", ".join(f"data.{key}={theirs!r} instead of {ours!r}" for key, (ours, theirs) in found.items())
            raise RequestError(
                f"{label} ({entry.run_dir}) has {said} of {labels[0]}: only runs on the same images can be compared. "
                "Leave it out, or score it on other data by `lensblend evaluate checkpoint=RUN data=...`."
            )
        key = json.dumps(node, sort_keys=True, default=str)
        if key not in built:
            source = recorded_data(entry.config, entry.run_dir / "config.yaml", is_run=True)
            if changed := changed_since(entry.run_dir, source):
                say(changed)
            built[key] = source.test() if split == "test" else source.split("val")
        pairs[entry.run_dir] = built[key]
        first, own = (list(p.ids)[:limit] for p in (pairs[entries[0].run_dir], built[key]))
        if first != own:
            other = next(iter([*(set(first) ^ set(own)), "their order"]))
            raise RequestError(
                f"{label} ({entry.run_dir}) has {len(own)} {SPLITS[split]} images and {labels[0]} has {len(first)}, "
                f"and they differ ({other}): only runs on the same images can be compared. Make `data.root` the same."
            )
    return pairs


def check_same_pixels(labels: Sequence[str], scored: Sequence[Scored]) -> None:
    """Refuse runs that were scored on other pixels, or at other sizes."""
    sizes = {label: tuple(s.about["image_size"]) for label, s in zip(labels, scored, strict=True)}
    if scored[0].about["score_at"] == "network" and len(set(sizes.values())) > 1:
        said = ", ".join(f"{label} {height}×{width}" for label, (height, width) in sizes.items())
        raise RequestError(
            f"Networks of different sizes ({said}) cannot be compared with `--score-at network`; leave it out."
        )
    for label, other in zip(labels, scored, strict=True):
        changed = [name for name, content in scored[0].contents.items() if other.contents[name] != content]
        if changed:
            raise DataError(
                f"The pixels of {changed[0]} ({len(changed)} images) are others for {label} than for {labels[0]}; "
                "where the files changed after one of them was scored, score both by `--again`."
            )
