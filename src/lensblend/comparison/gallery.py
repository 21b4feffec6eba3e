"""A page of pictures: each image's photo, target and renderings, two of them under a slider; one file, no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from numpy.typing import NDArray

from lensblend.data.images import read_size
from lensblend.data.pairs import Pair
from lensblend.inference.evaluation import Row, Scores, mean_cells
from lensblend.inference.pictures import SMALL, encode, save_picture, sheet
from lensblend.metrics.per_image import MetricClasses
from lensblend.nn.rendering import Rendering
from lensblend.storage import json_text, replace, temporary_beside

PAGE = Path(__file__).parent / "page"
SLIDER = PAGE / "vendor" / "img-comparison-slider" / "index.js"
SHEET_ROWS = 8
SLIDER_WIDTH = 768
LARGE = 200 * 2**20


@dataclass(frozen=True)
class Picture:
    """An encoded picture with its caption.

    Attributes:
        caption: Stands below it.
        content: The encoded bytes, or the file that holds them and is read when the page is written.
        suffix: ``png`` or ``jpeg``.
        height: In pixels.
        width: In pixels.
        note: A second, quieter line of the caption.
    """

    caption: str
    content: bytes | Path
    suffix: str
    height: int
    width: int
    note: str = ""

    @classmethod
    def of_pixels(cls, caption: str, pixels: NDArray[np.uint8], note: str = "") -> Picture:
        """Encode pixels ``(h, w, 3)`` or ``(h, w)``."""
        height, width = pixels.shape[:2]
        return cls(caption, *encode(pixels), height, width, note)

    @classmethod
    def of_file(cls, caption: str, path: Path, note: str = "") -> Picture:
        """Take a file that `lensblend.inference.pictures.encode` made."""
        return cls(caption, path, path.suffix[1:], *read_size(path), note)

    @property
    def is_small(self) -> bool:
        """Whether it is enlarged pixel by pixel, so that what is seen is what was rendered."""
        return self.width < SMALL

    @property
    def shown_width(self) -> int:
        """Width below the slider in pixels of the screen: a whole multiple, where the picture is smaller than that."""
        return self.width * max(1, SLIDER_WIDTH // self.width)

    @property
    def source(self) -> Markup:
        """The picture as a data URI."""
        content = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        return Markup(f"data:image/{self.suffix};base64,{base64.b64encode(content).decode()}")


@dataclass(frozen=True)
class PageImage:
    """One image of the page.

    Attributes:
        id: Names it.
        photo: All-in-focus photo.
        target: Captured bokeh.
        renderings: One per run, in the runs' order, captioned with the run's label.
        scores: By metric, one value per run.
        weights: Weight maps by run.
    """

    id: str
    photo: Picture
    target: Picture
    renderings: Sequence[Picture]
    scores: Mapping[str, Sequence[float]]
    weights: Mapping[str, Sequence[Picture]] = field(default_factory=dict)

    @cached_property
    def sides(self) -> list[Picture]:
        """What the slider can show, in the order of its selections."""
        return [self.photo, self.target, *self.renderings]

    @property
    def scores_json(self) -> str:
        """The scores for the page's script; texts, because JSON has no infinity."""
        texts = {True: "Infinity", False: "-Infinity"}
        return json_text(
            {m: [texts[v > 0] if np.isinf(v) else repr(v) for v in values] for m, values in self.scores.items()},
            indent=None,
        )


@dataclass(frozen=True)
class Cell:
    """A cell of the page's table; ``mark`` is best, better, worse or nothing."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Drawing:
    """Lines that are part of the page, with what each of them is.

    Attributes:
        title: Stands above it.
        svg: An ``<svg>`` element that says by itself what it shows.
        legend: Of each line, its name and a piece of it.
    """

    title: str
    svg: Markup
    legend: Sequence[tuple[str, Markup]]


@dataclass(frozen=True)
class Section:
    """A part of the page above the images.

    Attributes:
        title: Its heading.
        tables: Each in cells, the head first.
        pictures: Shown as wide as they are, or as the page is.
        notes: Sentences between tables and pictures.
        drawings: Shown side by side, after the notes.
        details: Tables that are closed at first, below all.
    """

    title: str
    tables: Sequence[Sequence[Sequence[Cell]]]
    pictures: Sequence[Picture]
    notes: Sequence[str] = ()
    drawings: Sequence[Drawing] = ()
    details: Sequence[Sequence[Sequence[Cell]]] = ()


def write_gallery(
    path: Path,
    title: str,
    labels: Sequence[str],
    metrics: MetricClasses,
    table: Sequence[Sequence[Cell]],
    images: Iterable[PageImage],
    about: Sequence[str] = (),
    notes: Sequence[str] = (),
    say: Callable[[str], None] = print,
    sections: Sequence[Section] = (),
) -> None:
    """Write the page; whatever names contain is shown as text.

    Args:
        path: The file.
        title: Heads the page.
        labels: The runs' names, in the order of each image's renderings.
        metrics: What the images can be sorted by.
        table: Cells, the head first.
        images: Drawn one by one.
        about: Sentences above the table.
        notes: Sentences below it.
        say: Hears of a page that is too large for many a browser.
        sections: Parts of their own above the images.

    Raises:
        StorageError: The file could not be written.
    """
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True)
    # An address in the bundle's last line would make developer tools ask for a file that is not there.
    slider = SLIDER.read_text(encoding="utf-8").split("//# sourceMappingURL")[0]
    script = (PAGE / "gallery.js").read_text(encoding="utf-8")
    page = environment.get_template("gallery.html").stream(
        title=title,
        labels=labels,
        sides=["photo", "target", *labels],
        left=1 if len(labels) == 1 else 2,
        right=2 if len(labels) == 1 else len(labels) + 1,
        metrics=metrics,
        table=table,
        images=images,
        about=about,
        notes=notes,
        sections=sections,
        style=Markup((PAGE / "gallery.css").read_text(encoding="utf-8")),
        slider=Markup(slider),
        script=Markup(script),
        policy=_policy(slider, script),
    )
    with temporary_beside(path) as temporary:
        page.dump(str(temporary), encoding="utf-8", errors="backslashreplace")
        replace(temporary, path)
    if path.stat().st_size > LARGE:
        megabytes = path.stat().st_size / 2**20
        say(f"{path} is {megabytes:.0f} MB, more than many browsers open gladly; show fewer pictures on it.")


def note(metrics: MetricClasses, scores: Mapping[str, float]) -> str:
    """Return an image's scores as they stand below its picture."""
    return " · ".join(f"{metric.heading} {metric.written(scores[name])}" for name, metric in metrics.items())


def _policy(*scripts: str) -> str:
    """Return a content security policy under which only these scripts run and nothing is ever fetched."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


class Gallery:
    """Collect one network's renderings, and write them as a page and, the first few, as one picture.

    Args:
        label: Names the network on the page.
        metrics: The classes of what it is scored by, by name.
    """

    def __init__(self, label: str, metrics: MetricClasses) -> None:
        self._label, self._metrics = label, metrics
        self._images: list[PageImage] = []
        self._sheet: dict[str, Mapping[str, NDArray[np.uint8]]] = {}

    def show(self, pair: Pair, _: Rendering, row: Row, scores: Scores) -> None:
        """Add a pair as soon as it is scored; see `lensblend.inference.evaluation.score_network`."""
        self.add(pair.id, row, scores)

    def add(self, name: str, row: Mapping[str, NDArray[np.uint8]], scores: Mapping[str, float]) -> None:
        """Add an image: its pictures as `lensblend.inference.pictures.cells` names them, and its scores."""
        if len(self._sheet) < SHEET_ROWS:
            self._sheet[name] = row
        pictures = {caption: Picture.of_pixels(caption, pixels) for caption, pixels in row.items()}
        bokeh = Picture.of_pixels(self._label, row["bokeh"], note(self._metrics, scores))
        maps = [picture for caption, picture in pictures.items() if caption not in ("photo", "target", "bokeh")]
        each = {metric: [value] for metric, value in scores.items()}
        weights = {self._label: maps} if maps else {}
        self._images.append(PageImage(name, pictures["photo"], pictures["target"], [bokeh], each, weights))

    def write(self, folder: Path, title: str, table: Mapping[str, Scores]) -> None:
        """Write ``gallery.html`` with every image, and ``sheet.png`` with the first few.

        Args:
            folder: Receives both.
            title: Heads the page.
            table: Mean scores by name of what was scored.
        """
        cells = [[Cell(text) for text in line] for line in mean_cells(self._metrics, table)]
        write_gallery(folder / "gallery.html", title, [self._label], self._metrics, cells, self._images)
        save_picture(sheet(self._sheet), folder / "sheet.png")
