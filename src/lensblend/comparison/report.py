"""A whole comparison: find the runs, score them on the same images, and write tables and the page of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lensblend.comparison.gallery import Cell, PageImage, Picture, Section, note, write_gallery
from lensblend.comparison.labels import label_entries
from lensblend.comparison.runs import Entry, LeftOut, choose_reference, class_name
from lensblend.comparison.scored import Request, Scored
from lensblend.comparison.scoring import check_maps, content_hash, data_differences, score_entry
from lensblend.comparison.studies.aim2019_observations import observations_markdown
from lensblend.comparison.studies.aim2019_table import challenge_csv, challenge_markdown, our_rows
from lensblend.comparison.studies.analysis import analyse
from lensblend.comparison.studies.findings import clear_findings, write_findings
from lensblend.comparison.studies.paper import METRICS, paper_table
from lensblend.comparison.studies.recipes import Recipes
from lensblend.comparison.tables import (
    Line,
    compare_scores,
    comparison_csv,
    explanation,
    f_number_table,
    markdown,
    marks,
    scores_csv,
    table_cells,
)
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.samples import Resized
from lensblend.errors import DataError, RequestError
from lensblend.metrics.per_image import MetricClasses
from lensblend.runs.fingerprints import changed_since
from lensblend.runs.messages import say
from lensblend.runs.recorded import recorded_data
from lensblend.storage import write_atomically

AIM2019 = "aim2019"
Track = Callable[[Iterable[int], str], Iterable[int]]


@dataclass
class Comparison:
    """Runs that have been scored on the same images.

    Attributes:
        entries: What was compared.
        lines: The table, a line per entry.
        metrics: The classes of what they were scored by, by name.
        scored: Each entry's scores and pictures.
        pairs: The validation split, at the pairs' own size.
        left_out: Runs that could not be compared.
        phase: The phase that the user chose, if any.
        recipes: With what the tables of studies compare how runs were trained.
    """

    entries: list[Entry]
    lines: list[Line]
    metrics: MetricClasses
    scored: list[Scored]
    pairs: Pairs
    left_out: list[LeftOut] = field(default_factory=list)
    phase: str | None = None
    recipes: Recipes | None = None

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.scored[0].scores)

    @property
    def labels(self) -> list[str]:
        """The entries' names."""
        return [line.label for line in self.lines]

    def about(self) -> list[str]:
        """Say what was compared, and how."""
        how = self.scored[0].about
        at = "the photos' own size" if how["score_at"] == "photo" else "the network's size"
        count = len({entry.run_dir for entry in self.entries})
        return [
            f"{count} run{'s' if count > 1 else ''} · {self.count} validation images of {class_name(how['data'])} · "
            f"blended at the {how['blend_at']}'s size · scored at {at}"
        ]

    def load(self, index: int) -> Pair:
        """Return a pair as it was scored.

        Raises:
            DataError: Its pixels are others now.
        """
        first = self.scored[0]
        network_size = first.about["image_size"] if first.about["score_at"] == "network" else None
        pair = (Resized(self.pairs, network_size) if network_size else self.pairs).load(index)
        if content_hash(pair.photo, pair.captured()) != first.contents[pair.id]:
            raise DataError(f"The pixels of {pair.id} changed after it was scored; compare again by `--again`.")
        return pair

    def left_out_lines(self) -> list[str]:
        """Say which runs are not there, and why."""
        return [f"Left out: {run.folder}: {run.reason}" for run in self.left_out]


def compare(
    entries: Sequence[Entry], left_out: Sequence[LeftOut], against: str | None, request: Request, track: Track
) -> Comparison:
    """Score entries on the same images, and set them against one of them.

    Args:
        entries: At least one.
        left_out: What was found but cannot be compared; entries whose checkpoint is damaged are added to it.
        against: A label or folder, see `choose_reference`.
        request: How to score.
        track: Shows how far the scoring of one entry is.

    Raises:
        RequestError: The entries do not share their data, or ``against`` names none of them.
        DataError: Nothing could be compared, or pictures changed between two scorings.
    """
    labels = label_entries(entries)
    reference = entries[choose_reference(entries, labels, against)]
    pairs = _shared_pairs(entries, labels, request.limit)
    for entry in entries:
        with _damaged_later(entry):
            check_maps(entry, pairs[entry.run_dir], request)
    kept: dict[str, tuple[Entry, Scored]] = {}
    dropped = list(left_out)
    for entry, label in zip(entries, labels, strict=True):
        try:
            scored, how = score_entry(entry, pairs[entry.run_dir], request, lambda i, label=label: track(i, label))  # type: ignore[misc]
        except DataError as error:
            if not _is_about(error, entry):
                raise
            dropped.append(LeftOut(entry.run_dir, str(error)))
            say(f"Left out: {entry.run_dir}: {error}")
            continue
        said = "scores of an earlier comparison" if how == "kept" else f"scored ({how})"
        say(f"{label}: {said}, {scored.folder}")
        kept[label] = entry, scored
    chosen = [entry for entry, _ in kept.values()]
    if reference not in chosen:
        raise DataError(f"{reference.run_dir}, with which the others are compared, could not be scored; see above.")
    results = [scored for _, scored in kept.values()]
    _check_same_pixels(list(kept), results)
    compared = compare_scores({label: s.scores for label, (_, s) in kept.items()}, chosen.index(reference))
    lines = [
        Line(label, str(entry.run_dir), entry.phase, scored.about["parameters"], *compared[label])
        for label, (entry, scored) in kept.items()
    ]
    metrics = {name: type(metric) for name, metric in request.metrics.items()}
    return Comparison(chosen, lines, metrics, results, pairs[reference.run_dir], dropped)


@contextmanager
def _damaged_later(entry: Entry) -> Iterator[None]:
    """Leave it to the scoring to say that an entry's checkpoint is damaged, and to go on without it."""
    try:
        yield
    except DataError as error:
        if not _is_about(error, entry):
            raise


def _is_about(error: DataError, entry: Entry) -> bool:
    return str(entry.checkpoint) in str(error)


def _shared_pairs(entries: Sequence[Entry], labels: Sequence[str], limit: int | None) -> dict[Path, Pairs]:
    """Build each run's validation split, equal ones once, and refuse runs that were validated on other images."""
    built: dict[str, Pairs] = {}
    pairs: dict[Path, Pairs] = {}
    for entry, label in zip(entries, labels, strict=True):
        node = entry.config["data"]
        found = data_differences(entries[0].config["data"], node)
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
            built[key] = source.split("val")
        pairs[entry.run_dir] = built[key]
        first, own = (list(p.ids)[:limit] for p in (pairs[entries[0].run_dir], built[key]))
        if first != own:
            other = next(iter([*(set(first) ^ set(own)), "their order"]))
            raise RequestError(
                f"{label} ({entry.run_dir}) has {len(own)} validation images and {labels[0]} has {len(first)}, and "
                f"they differ ({other}): only runs on the same images can be compared. Make `data.root` the same."
            )
    return pairs


def _check_same_pixels(labels: Sequence[str], scored: Sequence[Scored]) -> None:
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


def write_report(comparison: Comparison, output: Path, tables: Sequence[str], gallery_limit: int) -> str:
    """Write compare.md, compare.csv, scores.csv and gallery.html, and return what compare.md says.

    Where renderings were measured, also analysis.csv and the plots of analysis/.

    Args:
        comparison: What was compared.
        output: The folder; it is made.
        tables: What else to write: numbers of the paper's tables, and ``aim2019``, which also writes aim2019.csv.
        gallery_limit: How many images the page shows; 0 for no page.
    """
    lines, labels = comparison.lines, comparison.labels
    named = {label: s.scores for label, s in zip(labels, comparison.scored, strict=True)}
    parts = [*comparison.about(), markdown(lines, comparison.metrics, comparison.count)]
    parts += f_number_table(named, comparison.scored[0].about.get("f_numbers", {}), comparison.metrics)
    how = comparison.count, comparison.phase, comparison.recipes
    parts += [paper_table(int(table), comparison.entries, lines, *how) for table in tables if table != AIM2019]
    parts += _write_challenge(comparison, output / "aim2019.csv", AIM2019 in tables)
    missing = [metric.name for metric in METRICS if tables and metric.name not in lines[0].means]
    parts += [f"Ours have no {name}: its weights are not here." for name in missing]
    sections = []
    if comparison.scored[0].measures:
        analysed = analyse(labels, comparison.entries, comparison.scored)
        said, section = write_findings(output, analysed, comparison.scored, comparison.load)
        parts.append(said)
        sections.append(section)
    else:
        clear_findings(output)
    runs = [f"- {line.label}: {line.folder}, {line.phase}" for line in lines]
    parts.append("\n".join([*runs, *(f"- {said}" for said in comparison.left_out_lines())]))
    text = "\n\n".join(parts)
    write_atomically(output / "compare.md", f"# Comparison\n\n{text}\n")
    write_atomically(output / "compare.csv", comparison_csv(lines, comparison.count))
    write_atomically(output / "scores.csv", scores_csv(named))
    page = output / "gallery.html"
    if gallery_limit:
        _write_page(comparison, page, gallery_limit, sections)
    else:
        page.unlink(missing_ok=True)  # an earlier comparison's would stand beside tables of another
    return text


def _write_challenge(comparison: Comparison, path: Path, wanted: bool) -> list[str]:
    """Write the AIM 2019 challenge's table as CSV, and return it and what follows from it as Markdown."""
    if not wanted:
        path.unlink(missing_ok=True)  # as the page below
        return []
    rows = our_rows(comparison.entries, comparison.lines, comparison.scored, comparison.phase, comparison.recipes)
    write_atomically(path, challenge_csv(rows, comparison.count))
    data = class_name(comparison.scored[0].about["data"])
    return [challenge_markdown(rows, comparison.count, data, comparison.phase), observations_markdown(rows)]


def _write_page(comparison: Comparison, path: Path, limit: int, sections: Sequence[Section]) -> None:
    shown = min(limit, comparison.count)
    notes = [explanation(comparison.count, len(comparison.lines) > 1), *comparison.left_out_lines()]
    if shown < comparison.count:
        cut = f"Pictures of the first {shown} of {comparison.count} images; the table is over all of them."
        notes.append(cut)
        say(f"{cut} `--gallery-limit {comparison.count}` shows all.")
    cells = zip(*(make(comparison.lines, comparison.metrics) for make in (table_cells, marks)), strict=True)
    table = [[Cell(text, mark) for text, mark in zip(*line, strict=True)] for line in cells]
    title = " / ".join(comparison.labels) if len(comparison.lines) <= 3 else f"{len(comparison.lines)} runs compared"
    named = comparison.labels, comparison.metrics
    write_gallery(path, title, *named, table, _images(comparison, shown), comparison.about(), notes, say, sections)


def _images(comparison: Comparison, count: int) -> Iterator[PageImage]:
    first = comparison.scored[0]
    for index, name in enumerate(list(first.scores)[:count]):
        pair = comparison.load(index)
        renderings, weights = [], {}
        for label, scored in zip(comparison.labels, comparison.scored, strict=True):
            said = note(comparison.metrics, scored.scores[name])
            renderings.append(Picture.of_file(label, scored.picture(index), said))
            maps: list[str] = scored.about["maps"]
            if maps:
                files = [Picture.of_file(caption, scored.picture(index, i)) for i, caption in enumerate(maps)]
                weights[label] = files
        photo, target = Picture.of_pixels("photo", pair.photo), Picture.of_pixels("target", pair.captured())
        each: dict[str, Any] = {m: [s.scores[name][m] for s in comparison.scored] for m in first.scores[name]}
        yield PageImage(name, photo, target, renderings, each, weights)
