"""Score one run on its validation or test pairs, and keep scores and pictures for the next comparison."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lensblend
from lensblend.comparison.cost import hardware, metered
from lensblend.comparison.places import places
from lensblend.comparison.runs import Entry, class_name
from lensblend.comparison.scored import Request, Scored, read_kept
from lensblend.comparison.studies import measures
from lensblend.data.files import raise_all
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.samples import Resized
from lensblend.errors import DataError
from lensblend.inference.evaluation import Pixels, Row, Scores, score_network, taken
from lensblend.inference.flipped import augmented
from lensblend.inference.guidance import KNOWN, build_guides, guidance_of
from lensblend.inference.guided_pairs import Afresh, Guided, check_guides
from lensblend.inference.pictures import encode
from lensblend.inference.prior_maps import Guide
from lensblend.inference.rendering import device_of
from lensblend.nn.rendering import Rendering
from lensblend.runs.checkpoint_files import checkpoint_sha256
from lensblend.runs.checkpoints import check_renders, load_network
from lensblend.storage import json_text, remove, write_atomically

FORMAT = 5
SPLITS = {"val": "validation", "test": "test"}
# Keys of data that do not change the pairs of a split.
_OTHERS = {
    "val": ("test_list", "test_photos", "test_targets"),
    "test": ("photos", "targets", "val", "val_list", "val_fraction", "val_photos", "val_targets"),
}


def score_entry(
    entry: Entry, pairs: Pairs, request: Request, track: Callable[[Iterable[int]], Iterable[int]]
) -> tuple[Scored, str]:
    """Return an entry's scores: those kept of it, where they are of the same, else new ones.

    They are kept in the run's folder; of a run that is another user's, or read-only, in this user's cache.

    Args:
        entry: The run and phase.
        pairs: The split that is asked for, at the pairs' own size.
        request: How to score.
        track: Shows how far the scoring is.

    Returns:
        The scores, and how they came about: ``kept``, ``new`` or why what was kept was not used.

    Raises:
        DataError: The checkpoint is damaged, or there are no pairs.
        StorageError: Scores and pictures cannot be written.
    """
    ids = list(pairs.ids)[: request.limit]
    if not ids:
        helps = ", or leave `--split test` out" if request.split == "test" else ""
        raise DataError(
            f"The data of {entry.run_dir} has no {SPLITS[request.split]} pairs; compare runs that have some{helps}."
        )
    about = _about(entry, request)
    kept, how = _kept(entry, about, pairs, request)
    return kept or _score(entry, pairs, ids, places(entry)[-1], about, request, track), how


def check_maps(entry: Entry, pairs: Pairs, request: Request) -> None:
    """Look at the maps that scoring an entry will read, before anything is scored.

    Args:
        entry: The run and phase; nothing is read of one whose scores are kept.
        pairs: The split that is asked for.
        request: How to score.

    Raises:
        DataError: Maps cannot be read or do not fit their photos, or the network's are missing; all are listed.
    """
    if _kept(entry, _about(entry, request), pairs, request)[0] is not None:
        return
    guides = {**_guides(entry), **_focus(request)}
    check_guides(guides, pairs, request.limit)
    for name in (name for name in KNOWN if request.analysis and name not in guides):
        raise_all(pairs.map_problems(name, request.limit, needed=False), f"the {name} maps")


def _kept(entry: Entry, about: Mapping[str, Any], pairs: Pairs, request: Request) -> tuple[Scored | None, str]:
    """Return what an earlier comparison kept, wherever it lies, or why it cannot be used."""
    reason = "new"
    stamps = {name: _stamp(pairs, index) for index, name in enumerate(list(pairs.ids)[: request.limit])}
    for folder in places(entry):
        kept, reason = read_kept(folder, about, stamps, request)
        if kept is not None:
            return kept, "kept"
    return None, reason


def _about(entry: Entry, request: Request) -> dict[str, Any]:
    """Return all that decides the scores: what was kept counts only where every value is the same."""
    return {
        "format": FORMAT,
        "lensblend": lensblend.__version__,
        "checkpoint_sha256": checkpoint_sha256(entry.checkpoint),
        "data": entry.config["data"],
        "split": request.split,
        "guidance": {name: guide.identity for name, guide in _guides(entry).items()},
        "blend_at": request.blend_at,
        "score_at": request.score_at,
        "conventions": {name: metric.convention for name, metric in request.metrics.items()},
        **{f"{name}_weights_sha256": digest for name, digest in request.weights.items()},
        "focus": " ".join([class_name(request.focus or {}), *(g.identity for g in _focus(request).values())])
        if taken(request.metrics)
        else None,
        "tta": None if request.tta == "none" else request.tta,
        **({"analysis": measures.FORMAT} if request.analysis else {}),
    }


def _guides(entry: Entry) -> dict[str, Guide]:
    """Return the sources of the maps that an entry's network takes."""
    return build_guides(guidance_of(entry.config["model"], "model"), entry.config)


def _focus(request: Request) -> dict[str, Guide]:
    """Return the source of the maps that metrics take."""
    return {
        name: Afresh(guide) for name, guide in build_guides(taken(request.metrics), {"focus": request.focus}).items()
    }


def _score(
    entry: Entry,
    pairs: Pairs,
    ids: Sequence[str],
    folder: Path,
    about: Mapping[str, Any],
    request: Request,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> Scored:
    trained = load_network(entry.checkpoint)
    seen: Pairs = Guided(pairs, {**_guides(entry), **_focus(request)}, () if request.analysis else KNOWN)
    seen = Resized(seen, trained.image_size) if request.score_at == "network" else seen
    contents: dict[str, str] = {}
    maps: list[str] = []
    measured: dict[str, Scores] = {}
    # Written last, removed first: a folder without it is not used, so a comparison that was stopped leaves no half.
    for old in (folder / "about.json", folder / "measures.csv", *folder.glob("[0-9]*")):
        remove(old)

    def keep(pair: Pair, rendering: Rendering, row: Row, _: Scores) -> None:
        index = len(contents)
        contents[pair.id] = content_hash(pair.photo, pair.captured())
        if request.analysis:
            weights = rendering.aux.get("weights")
            measured[pair.id] = measures.measure(pair, row["bokeh"], None if weights is None else weights[0])
        captions = [caption for caption in row if caption.startswith("W")]
        maps[:] = captions
        if index < request.pictures:
            for stem, caption in [("", "bokeh"), *((f"-W{i}", caption) for i, caption in enumerate(captions))]:
                content, suffix = encode(row[caption])
                write_atomically(folder / f"{index:04d}{stem}.{suffix}", content)

    network = augmented(check_renders(trained).to(request.device), request.tta)
    indices = track(range(len(ids)))
    with metered(network) as cost:
        f_numbers: dict[str, float] = {}
        how = trained.image_size, request.blend_at, keep, f_numbers
        scores = score_network(network, request.metrics, seen, indices, *how)
    about = {
        **about,
        "phase": entry.phase,
        "image_size": list(trained.image_size),
        "parameters": sum(p.numel() for p in network.parameters()),
        "maps": maps,
        "device": request.device.type,
        "hardware": hardware(device_of(network)),
        "seconds": cost.seconds,
        "macs": cost.macs,
        "count": len(scores),
        "f_numbers": f_numbers,
    }
    stamps = (_stamp(pairs, index) for index in range(len(ids)))
    rows = {
        name: {"content": contents[name], "files": stamp, **_in_file(row, request)}
        for (name, row), stamp in zip(scores.items(), stamps, strict=True)
    }
    write_atomically(folder / "scores.csv", _csv(rows))
    if request.analysis:
        write_atomically(folder / "measures.csv", _csv({name: _written(row) for name, row in measured.items()}))
    write_atomically(folder / "about.json", json_text(about) + "\n")
    return Scored(scores, contents, about, folder, measured)


def _written(row: Scores) -> dict[str, str]:
    """Write numbers in full, so that what is read again is the same."""
    return {name: repr(value) for name, value in row.items()}


def _in_file(row: Scores, request: Request) -> dict[str, str]:
    return {name: metric.in_file(row[name]) for name, metric in request.metrics.items()}


def _csv(rows: Mapping[str, Mapping[str, str]]) -> str:
    """Return a row per image."""
    columns = list(next(iter(rows.values())))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", *columns])
    writer.writerows([name, *(row[c] for c in columns)] for name, row in rows.items())
    return file.getvalue()


def _stamp(pairs: Pairs, index: int) -> str:
    """Return a short hash of what changes with a pair's files; empty where it lies in none."""
    stamp = pairs.stamp(index)
    return "" if stamp is None else hashlib.sha256(repr(stamp).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def content_hash(photo: Pixels, target: Pixels) -> str:
    """Return a short hash of a pair's pixels."""
    return hashlib.sha256(photo.tobytes() + target.tobytes()).hexdigest()[:16]


def data_differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], split: str = "val"
) -> dict[str, tuple[Any, Any]]:
    """Return the keys of two data nodes that may change the pairs of a split, with both values.

    Keys that say where files lie, or which pairs are in the other splits, do not count.

    Example:
        >>> data_differences({"seed": 0, "train": 48}, {"seed": 1, "train": 144})
        {'seed': (0, 1)}
    """
    aside = {"root", "cache", "train", "length", "train_list", *_OTHERS[split]}
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if key not in aside]
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}
