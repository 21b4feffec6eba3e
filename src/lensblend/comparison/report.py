"""A whole comparison: find the runs, score them on the same images, and write tables and the page of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any

from lensblend.comparison.csv_tables import comparison_csv, scores_csv
from lensblend.comparison.curves import curves_sections
from lensblend.comparison.explanations import explained
from lensblend.comparison.gallery import Cell, PageImage, Picture, Section, note, write_gallery
from lensblend.comparison.labels import label_entries
from lensblend.comparison.lines import Line
from lensblend.comparison.opinions import Ratings, opinions_markdown, opinions_sections, rated
from lensblend.comparison.rows import Row, configuration_cells, lines_of, mean_scores, rows_of
from lensblend.comparison.runs import Entry, LeftOut, choose_reference, class_name
from lensblend.comparison.scored import Request, Scored
from lensblend.comparison.scoring import SPLITS, check_maps, content_hash, score_entry
from lensblend.comparison.sharing import check_same_pixels, shared_pairs
from lensblend.comparison.studies.aim2019_observations import observations_markdown
from lensblend.comparison.studies.aim2019_table import challenge_csv, challenge_markdown, our_rows
from lensblend.comparison.studies.analysis import analyse
from lensblend.comparison.studies.findings import clear_findings, write_findings
from lensblend.comparison.studies.paper import METRICS, paper_table
from lensblend.comparison.studies.recipes import Recipes
from lensblend.comparison.tables import f_number_table, markdown, marks, table_cells
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.samples import Resized
from lensblend.errors import DataError
from lensblend.inference.evaluation import aligned, shown, taken
from lensblend.metrics.per_image import MetricClasses
from lensblend.runs.messages import say
from lensblend.storage import write_atomically

AIM2019 = "aim2019"
FOCUS = {"FromPair": "where photo and target are equally sharp", "Truth": "the data's masks"}
Track = Callable[[Iterable[int], str], Iterable[int]]


@dataclass
class Comparison:
    """Runs that have been scored on the same images.

    Attributes:
        entries: What was compared.
        runs: A line per entry.
        lines: The table: the same, but that runs which differ in their seed alone are one.
        rows: Which entries each line of the table is the mean of.
        metrics: The classes of what they were scored by, by name.
        scored: Each entry's scores and pictures.
        pairs: The split that was scored, at the pairs' own size.
        left_out: Runs that could not be compared.
        phase: The phase that the user chose, if any.
        recipes: With what the tables of studies compare how runs were trained.
        unrated: What the opinions that `rate` gave lack, a sentence each.
    """

    entries: list[Entry]
    runs: list[Line]
    lines: list[Line]
    rows: list[Row]
    metrics: MetricClasses
    scored: list[Scored]
    pairs: Pairs
    left_out: list[LeftOut] = field(default_factory=list)
    phase: str | None = None
    recipes: Recipes | None = None
    unrated: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.scored[0].scores)

    @property
    def images(self) -> str:
        """How many images of which split, in words."""
        return f"{self.count} {SPLITS[self.scored[0].about['split']]} images"

    @property
    def labels(self) -> list[str]:
        """The entries' names."""
        return [line.label for line in self.runs]

    def about(self) -> list[str]:
        """Say what was compared, and how."""
        how = self.scored[0].about
        at = "the photos' own size" if how["score_at"] == "photo" else "the network's size"
        count = len({entry.run_dir for entry in self.entries})
        timed = [] if isnan(self.lines[0].seconds) else [f"seconds per photo on {how['hardware']}"]
        flips = ["rendered as the mean over flips"] if how.get("tta") else []
        focus = [f"in focus: {FOCUS[how['focus'].split()[0]]}"] if taken(self.metrics) else []
        return [
            f"{count} run{'s' if count > 1 else ''} · {self.images} of {class_name(how['data'])} · "
            + " · ".join([f"blended at the {how['blend_at']}'s size", f"scored at {at}", *flips, *focus, *timed])
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

    def rate(self, ratings: Ratings) -> None:
        """Give the lines what people think of them.

        Raises:
            DataError: No method that was rated is any of the runs.
        """
        self.runs, self.unrated = rated(self.runs, ratings)
        opinions = [self.runs[row.members[0]].opinion if len(row.members) == 1 else None for row in self.rows]
        self.lines = [replace(line, opinion=own) for line, own in zip(self.lines, opinions, strict=True)]

    def left_out_lines(self) -> list[str]:
        """Say which runs are not there, and why."""
        return [f"Left out: {run.folder}: {run.reason}" for run in self.left_out]


def compare(
    entries: Sequence[Entry],
    left_out: Sequence[LeftOut],
    against: str | None,
    request: Request,
    track: Track,
    each_seed: bool = False,
) -> Comparison:
    """Score entries on the same images, and set them against one of them.

    Args:
        entries: At least one.
        left_out: What was found but cannot be compared; entries whose checkpoint is damaged are added to it.
        against: A label of an entry or of a row, or a folder, see `choose_reference`.
        request: How to score.
        track: Shows how far the scoring of one entry is.
        each_seed: Leave runs that differ in their seed alone rows of their own.

    Raises:
        RequestError: The entries do not share their data, or ``against`` names none of them.
        DataError: Nothing could be compared, or pictures changed between two scorings.
    """
    labels = label_entries(entries)
    named = {row.label: row.members[0] for row in rows_of(entries, labels, each_seed)}
    reference = entries[named[against] if against in named else choose_reference(entries, labels, against)]
    pairs = shared_pairs(entries, labels, request.limit, request.split)
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
    check_same_pixels(list(kept), results)
    metrics = {name: type(metric) for name, metric in request.metrics.items()}
    rows = rows_of(chosen, list(kept), each_seed)
    lines = lines_of(rows, chosen, results, reference, metrics)
    alone = rows_of(chosen, list(kept), each_seed=True)
    runs = lines if len(rows) == len(chosen) else lines_of(alone, chosen, results, reference, metrics)
    return Comparison(chosen, runs, lines, rows, metrics, results, pairs[reference.run_dir], dropped)


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
    runs, named = comparison.runs, {label: s.scores for label, s in zip(labels, comparison.scored, strict=True)}
    parts = [*comparison.about(), markdown(lines, comparison.metrics, comparison.count)]
    parts += opinions_markdown(runs, comparison.metrics, comparison.unrated)
    f_numbers, scored = comparison.scored[0].about.get("f_numbers", {}), comparison.scored
    means = {row.label: mean_scores([scored[i].scores for i in row.members]) for row in comparison.rows}
    parts += f_number_table(means, f_numbers, comparison.metrics)
    differing = configuration_cells(comparison.entries, comparison.rows)
    if differing:
        parts.append(f"In what the rows differ:\n\n{aligned([[shown(cell) for cell in row] for row in differing])}")
    how = comparison.images, comparison.phase, comparison.recipes
    parts += [paper_table(int(table), comparison.entries, runs, *how) for table in tables if table != AIM2019]
    parts += _write_challenge(comparison, output / "aim2019.csv", AIM2019 in tables)
    missing = [metric.name for metric in METRICS if tables and metric.name not in lines[0].means]
    parts += [f"Ours have no {name}: its weights are not here." for name in missing]
    sections = [
        *_configuration(differing),
        *curves_sections(comparison.entries, labels, comparison.rows, comparison.metrics),
    ]
    sections += opinions_sections(runs, comparison.metrics, comparison.unrated)
    if comparison.scored[0].measures:
        analysed = analyse(labels, comparison.entries, comparison.scored)
        said, section = write_findings(output, analysed, comparison.scored, comparison.load)
        parts.append(said)
        sections.append(section)
    else:
        clear_findings(output)
    where = [f"- {line.label}: {line.folder}, {line.phase}" for line in runs]
    parts.append("\n".join([*where, *(f"- {said}" for said in comparison.left_out_lines())]))
    text = "\n\n".join(parts)
    write_atomically(output / "compare.md", f"# Comparison\n\n{text}\n")
    write_atomically(output / "compare.csv", comparison_csv(lines, comparison.metrics))
    write_atomically(output / "scores.csv", scores_csv(named, comparison.metrics))
    page = output / "gallery.html"
    if gallery_limit:
        _write_page(comparison, page, gallery_limit, sections)
    else:
        page.unlink(missing_ok=True)  # an earlier comparison's would stand beside tables of another
    return text


def _configuration(cells: Sequence[Sequence[str]]) -> list[Section]:
    """Return in what rows differ as a part of the page."""
    return [Section("Configurations", [[[Cell(text) for text in line] for line in cells]], [])] if cells else []


def _write_challenge(comparison: Comparison, path: Path, wanted: bool) -> list[str]:
    """Write the AIM 2019 challenge's table as CSV, and return it and what follows from it as Markdown."""
    if not wanted:
        path.unlink(missing_ok=True)  # as the page below
        return []
    rows = our_rows(comparison.entries, comparison.runs, comparison.scored, comparison.phase, comparison.recipes)
    write_atomically(path, challenge_csv(rows, comparison.count))
    data = class_name(comparison.scored[0].about["data"])
    is_rated = any(line.opinion for line in comparison.runs)
    said = challenge_markdown(rows, comparison.images, data, comparison.phase, is_rated)
    return [said, observations_markdown(rows)]


def _write_page(comparison: Comparison, path: Path, limit: int, sections: Sequence[Section]) -> None:
    shown = min(limit, comparison.count)
    notes = [explained(comparison.lines, comparison.count, comparison.metrics), *comparison.left_out_lines()]
    if shown < comparison.count:
        cut = f"Pictures of the first {shown} of {comparison.count} images; the table is over all of them."
        notes.append(cut)
        say(f"{cut} `--gallery-limit {comparison.count}` shows all.")
    cells = zip(*(make(comparison.lines, comparison.metrics) for make in (table_cells, marks)), strict=True)
    table = [[Cell(text, mark) for text, mark in zip(*line, strict=True)] for line in cells]
    few = len(comparison.runs) <= 3
    title = " / ".join(comparison.labels) if few else f"{len(comparison.runs)} runs compared"
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
