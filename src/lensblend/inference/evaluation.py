"""Score renderings image by image: of a network on a split, or of a folder against a folder."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lensblend.data.doubts import refuse_one_folder_twice, twins
from lensblend.data.images import read_photo, read_size
from lensblend.data.listing import list_images
from lensblend.data.pairs import Pair, Pairs
from lensblend.errors import DataError, RequestError, printable
from lensblend.inference.means import by_f_number, lacking, means, means_by_f_number
from lensblend.inference.pictures import cells, to_8bit
from lensblend.inference.rendering import BlendAt, render_photo, to_batch, weight_maps
from lensblend.nn.rendering import BokehNetwork, Rendering
from lensblend.storage import csv_text, json_text, write_atomically

if TYPE_CHECKING:
    from lensblend.metrics.per_image import MetricClasses  # torchmetrics takes seconds to import

CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]
Scores = dict[str, float]
Row = Mapping[str, Pixels]


def score(
    metrics: Mapping[str, Any],
    bokeh: Pixels,
    target: Pixels,
    device: torch.device = CPU,
    maps: Mapping[str, NDArray[np.float32]] | None = None,
) -> Scores:
    """Score one 8-bit rendering by every metric, on a device.

    Args:
        metrics: By name.
        bokeh: The rendering.
        target: What it should be.
        device: Where to compute.
        maps: At the target's size, those that metrics take beside it.
    """
    rendered, captured = to_batch(bokeh, device), to_batch(target, device)
    known = {
        name: torch.from_numpy(np.float32(maps[name])).to(device)[None, None]
        for name in taken(metrics)
        if maps and name in maps
    }
    return {
        name: float(metric.per_image(rendered, captured, **{m: known[m] for m in metric.beside if m in known})[0])
        for name, metric in metrics.items()
    }


def taken(metrics: Mapping[str, Any]) -> list[str]:
    """Return the maps that metrics, or their classes, take beside rendering and target, each once."""
    return list(dict.fromkeys(name for metric in metrics.values() for name in metric.beside))


@contextmanager
def _naming(photo: str | Path) -> Iterator[None]:
    """Say of which photo it is that a metric refuses it."""
    try:
        yield
    except RequestError as error:
        raise RequestError(f"`{photo}`: {error}") from error


def match_folders(predictions: Path, targets: Path, purpose: str = "scored") -> list[tuple[str, Path, Path]]:
    """Pair two folders' images by name, the suffix aside.

    Args:
        predictions: Folder of renderings.
        targets: Folder of what they should be.
        purpose: What the images cannot be where something is wrong, for the message.

    Raises:
        RequestError: Both are one folder.
        DataError: Partners are missing, names are doubled or alike, sizes differ, or files cannot be read; all of
            them are listed.
    """
    refuse_one_folder_twice({"predictions": predictions, "targets": targets})
    ours, theirs = _by_stem(predictions), _by_stem(targets)
    problems = twins(ours)
    problems += [f"{predictions}/{n}: no target of this name" for n in ours if n not in theirs]
    problems += [f"{targets}/{n}: no prediction of this name" for n in theirs if n not in ours]
    for name in (n for n in ours if n in theirs):
        if len(ours[name]) > 1 or len(theirs[name]) > 1:
            problems.append(f"{name}: several files of this name")
            continue
        sizes = []
        for file in (ours[name][0], theirs[name][0]):
            try:
                sizes.append(read_size(file))
            except DataError as error:
                problems.append(str(error))
        if len(set(sizes)) > 1:
            problems.append(f"{name}: prediction is {_size(sizes[0])}, target {_size(sizes[1])} (height×width)")
    if problems:
        raise DataError(
            f"{len(problems)} of the images cannot be {purpose}; make names and sizes equal, and repair what cannot be "
            "read:\n  " + "\n  ".join(problems)
        )
    return [(name, ours[name][0], theirs[name][0]) for name in ours]


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in list_images(folder):
        files.setdefault(path.stem, []).append(path)
    return files


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def score_folders(
    metrics: Mapping[str, Any],
    files: Iterable[tuple[str, Path, Path]],
    maps_of: Callable[[str, Pixels], Mapping[str, NDArray[np.float32]]] | None = None,
) -> dict[str, Scores]:
    """Score matched files by name.

    Args:
        metrics: By name.
        files: Each a name, a rendering and its target.
        maps_of: Returns the maps that metrics take beside these, of a name and its target.
    """
    scores = {}
    for name, ours, theirs in files:
        with _naming(ours):
            target = read_photo(theirs)
            maps = maps_of(name, target) if maps_of else None
            scores[name] = score(metrics, read_photo(ours), target, maps=maps)
    return scores


def score_network(
    network: BokehNetwork,
    metrics: Mapping[str, Any],
    pairs: Pairs,
    indices: Iterable[int],
    image_size: tuple[int, int],
    blend_at: BlendAt,
    show: Callable[[Pair, Rendering, Row, Scores], None] | None = None,
    f_numbers: dict[str, float] | None = None,
) -> dict[str, Scores]:
    """Render and score pairs by id; a network that takes f-numbers is told each pair's.

    Args:
        network: In evaluation mode.
        metrics: By name.
        pairs: A split.
        indices: Which of its pairs.
        image_size: Height and width at which the network works.
        blend_at: See `lensblend.inference.rendering.render_photo`.
        show: Takes each pair, what was rendered, both as 8-bit pictures, and the scores, as soon as they are there;
            without it, no pictures are made.
        f_numbers: Receives by id the f-number of each pair that has one.

    Raises:
        DataError: The network takes f-numbers, and a pair has none.
    """
    scores = {}
    for index in indices:
        pair = pairs.load(index)
        guidance = {name: pair.maps[name] for name in network.guidance}
        rendering = render_photo(_told(network, pair), pair.photo, image_size, blend_at, guidance)
        bokeh = to_8bit(rendering.bokeh[0])
        with _naming(pair.id):
            scores[pair.id] = score(metrics, bokeh, pair.captured(), rendering.bokeh.device, pair.maps)
        if f_numbers is not None and pair.f_number is not None:
            f_numbers[pair.id] = pair.f_number
        if show:
            row = cells(pair.photo, pair.captured(), bokeh, weight_maps(rendering), network.map_names)
            show(pair, rendering, row, scores[pair.id])
    return scores


def _told(network: BokehNetwork, pair: Pair) -> BokehNetwork:
    """Return a network as it renders at a pair's f-number; one that takes none as it is."""
    if network.f_numbers is None:
        return network
    if pair.f_number is None:
        raise DataError(
            f"`{pair.id}` has no f-number, which {type(network).__name__} is to be told; take data that knows it of "
            "each pair: data=realbokeh, data=photos or data=scenes."
        )
    return network.at_f_number(pair.f_number)


def score_references(
    metrics: Mapping[str, Any], network: BokehNetwork, pairs: Pairs, indices: Iterable[int], image_size: tuple[int, int]
) -> dict[str, Scores]:
    """Score the unmodified photos and each uniform blur, as means over pairs.

    Args:
        metrics: By name.
        network: Has the blurs, as wide as they are at its own size; on each photo they are in proportion to it.
        pairs: A split.
        indices: Which of its pairs.
        image_size: Height and width at which the network works.
    """
    sums: dict[str, dict[str, list[float]]] = {name: {m: [] for m in metrics} for name in network.map_names}
    for index in indices:
        pair = pairs.load(index)
        bank = _told(network, pair).reference_bank
        if bank is None:
            raise RequestError(f"{type(network).__name__} has no blurs that could be scored; leave `references` out.")
        height, width = pair.photo.shape[:2]
        stack = bank.at((height, width), image_size)(to_batch(pair.photo, torch.device("cpu")))[0]
        for name, copy in zip(bank.names, stack, strict=True):
            for metric, value in score(metrics, to_8bit(copy), pair.captured(), maps=pair.maps).items():
                sums[name][metric].append(value)
    return {name: {m: metrics[m].mean_of(v) for m, v in row.items()} for name, row in sums.items()}


def write_scores(
    output: Path,
    metrics: MetricClasses,
    scores: Mapping[str, Scores],
    about: Mapping[str, Any],
    f_numbers: Mapping[str, float] | None = None,
) -> None:
    """Write ``scores.csv`` with a row per image, and ``metrics.json`` with the means, conventions and origin.

    Where f-numbers are known, these are a column of the one, and means for each are in the other.

    Args:
        output: The folder; it is made.
        metrics: The classes of what was scored, by name.
        scores: By image id, then by metric.
        about: What was scored, e.g. the checkpoint and its hash.
        f_numbers: By image id, of those whose is known.
    """
    known = f_numbers or {}
    table = [["id", *metrics, *(["f_number"] if known else [])]]
    for name, row in scores.items():
        number = [f"{known[name]:.8g}" if name in known else ""] if known else []
        table.append([name, *(metric.in_file(row[m], ".8g") for m, metric in metrics.items()), *number])
    write_atomically(output / "scores.csv", csv_text(table))
    content = {
        "count": len(scores),
        **means(metrics, scores),
        **({"lacking": without} if (without := lacking(metrics, scores)) else {}),
        "conventions": {name: metric.convention for name, metric in metrics.items()},
        **about,
    }
    if rows := means_by_f_number(metrics, scores, known):
        counts = {group: len(ids) for group, ids in by_f_number(known).items()}
        content["f_numbers"] = {group: {"count": counts[group], **row} for group, row in rows.items()}
    write_atomically(output / "metrics.json", json_text(content) + "\n")


def mean_cells(metrics: MetricClasses, rows: Mapping[str, Scores]) -> list[list[str]]:
    """Return rows of scores as cells, the head first.

    Example:
        >>> from lensblend.metrics.fidelity import Psnr, Ssim
        >>> print(aligned(mean_cells({"psnr": Psnr, "ssim": Ssim}, {"photo": {"psnr": 20.5, "ssim": 0.9}})))
        |       | PSNR ↑ | SSIM ↑ |
        |-------|--------|--------|
        | photo |  20.50 | 0.9000 |
    """
    lines = [[name, *(metric.written(row[m]) for m, metric in metrics.items())] for name, row in rows.items()]
    return [["", *(metric.title() for metric in metrics.values())], *lines]


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells, the first of them the head, as a Markdown table that reads well as plain text."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    drawn = [
        "| " + " | ".join(_pad(c, w, i) for i, (c, w) in enumerate(zip(line, widths, strict=True))) + " |"
        for line in cells
    ]
    drawn.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(drawn)


def shown(name: str) -> str:
    r"""Return a name as text within Markdown, whatever it contains: no tag of it is one, and no line ends in it.

    Example:
        >>> shown("<b>\x1b[2J")
        '&lt;b&gt;\\x1b[2J'
    """
    return html.escape(printable(name).replace("\n", " "), quote=False)


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)
