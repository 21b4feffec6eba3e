"""What stands below a comparison's table: what its numbers, brackets and marks are."""

from __future__ import annotations

from collections.abc import Sequence

from lensblend.comparison.lines import Line
from lensblend.comparison.statistics import FEWEST_IMAGES, FEWEST_SEEDS, METHOD
from lensblend.metrics.per_image import MetricClasses

TOO_FEW = "too few"
RATED = "MOS: mean opinion score of people, 0 (almost identical) to 4 (mostly different), as the study gives it."


def explanation(lines: Sequence[Line], count: int) -> str:
    """Return what below the table says what its brackets and marks are."""
    if count == 1:
        return "One image: there are no intervals."
    text = f"Means over {count} images; in brackets the {METHOD}."
    if len(lines) > 1:
        text += " Δ: mean of the paired differences; ✓ better, ✗ worse: its interval excludes zero."
        found = [one for line in lines for one in (line.differences or {}).values()]
        if any(one.count < FEWEST_IMAGES for one in found):
            text += f" {TOO_FEW.capitalize()}: fewer than {FEWEST_IMAGES} images, of which nothing can be said."
    return text


def seeds_explained(lines: Sequence[Line]) -> str:
    """Return what must be known of rows that are means over seeds; nothing where none is."""
    if not is_seeded(lines):
        return ""
    text = " Runs that differ in their seed alone are one row: per image, their mean counts; ± is the standard "
    text += "deviation of the runs' means over seeds, with n − 1"
    if len(lines) == 1:
        return f"{text}."
    text += ", of Δ that of the difference of a run and a run. ✓ and ✗ then also need Welch's 95 % interval over seeds "
    return f"{text}to exclude zero, and {FEWEST_SEEDS} seeds in both rows: with fewer it is {TOO_FEW}."


def explained(lines: Sequence[Line], count: int, metrics: MetricClasses) -> str:
    """Return all that must be known to read the table."""
    rated = f" {RATED}" if any(line.opinion for line in lines) else ""
    found = {name: interval.count for name, interval in lines[0].means.items() if name in metrics}
    lacking = [
        f" {metrics[name].heading}: over {own} of the images; in the others the region is too small."
        for name, own in found.items()
        if metrics[name].may_lack and own < count
    ]
    return f"{explanation(lines, count)}{seeds_explained(lines)}{''.join(lacking)}{rated}"


def is_seeded(lines: Sequence[Line]) -> bool:
    """Tell whether a row is the mean of several runs."""
    return any(line.seeds > 1 for line in lines)
