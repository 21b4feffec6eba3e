"""A study's scores as CSV for programs and as Markdown for people."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

from lensblend.inference.evaluation import aligned, shown
from lensblend.storage import csv_text
from lensblend.survey.answers import LEVELS
from lensblend.survey.exclusions import Rater, Rules, tally
from lensblend.survey.levels import Opinion, Opinions
from lensblend.survey.preferences import REGULARISED, Preferences, Preferred
from lensblend.survey.resampling import Difference, Estimate

COUNTS = ("rank", "raters", "images", "answers")
MOS_COLUMNS = ("method", "mos", "low", "high", *COUNTS, "not_distinguishable_from")
STRENGTH_COLUMNS = ("method", "strength", "low", "high", *COUNTS, "wins", "not_distinguishable_from")


def mos_csv(opinions: Opinions) -> str:
    """Return a row per method, the best first; bounds are empty where there is no interval."""
    rows = [[o.method, *numbers(o.mos), *_counts(o), "; ".join(o.not_told_from)] for o in opinions.methods]
    return csv_text([MOS_COLUMNS, *rows])


def strengths_csv(preferences: Preferences) -> str:
    """Return a row per method, the strongest first; bounds are empty where there is no interval."""
    rows = [
        [m.method, *numbers(m.strength), *_counts(m), m.wins, "; ".join(m.not_told_from)] for m in preferences.methods
    ]
    return csv_text([STRENGTH_COLUMNS, *rows])


def preferences_csv(preferences: Preferences) -> str:
    """Return a row per two methods and direction: how often the first was preferred to the second."""
    rows: list[list[Any]] = [["method", "against", "wins", "answers", "share"]]
    for a, method in enumerate(preferences.methods):
        for b, against in enumerate(preferences.methods):
            wins, both = int(preferences.wins[a, b]), int(preferences.wins[a, b] + preferences.wins[b, a])
            if a != b:
                rows.append([method.method, against.method, wins, both, repr(wins / both) if both else None])
    return csv_text(rows)


def differences_csv(differences: Sequence[Difference]) -> str:
    """Return a row per two methods: the first's score less the second's, with its interval."""
    rows = [[d.method, d.against, *numbers(d.estimate)] for d in differences]
    return csv_text([["method", "against", "difference", "low", "high"], *rows])


def raters_csv(raters: Sequence[Rater]) -> str:
    """Return a row per rater; ``left_out`` says why one does not count, and is empty for those who do."""
    rows = [[r.id, r.answers, r.catches, r.failed, repr(r.seconds), "; ".join(r.reasons)] for r in raters]
    return csv_text([["rater", "answers", "catch_trials", "failed", "median_seconds", "left_out"], *rows])


def numbers(estimate: Estimate) -> list[str]:
    """Return value and bounds as cells of a CSV, in full; empty for what is not known."""
    return ["" if isnan(number) else repr(number) for number in (estimate.value, estimate.low, estimate.high)]


def _counts(scored: Opinion | Preferred) -> list[int]:
    return [scored.rank, scored.raters, scored.images, scored.answers]


def mos_markdown(opinions: Opinions, raters: Sequence[Rater], rules: Rules, agreement: float, how: str) -> str:
    """Return the table of scores, how often each level was given, how far raters agree, and who was left out.

    Args:
        opinions: The scores.
        raters: All of them.
        rules: By which some were left out.
        agreement: Krippendorff's ordinal α.
        how: Says how the intervals were drawn.
    """
    rows = [["method", "rank", "MOS ↓", "raters", "images", "answers", "not distinguishable from"]]
    rows += [_row(o, o.mos) for o in opinions.methods]
    levels = [["method", *(f"{place} {name}" for place, name in enumerate(LEVELS))]]
    levels += [[shown(o.method), *map(str, o.histogram)] for o in opinions.methods]
    fewer = [o for o in opinions.methods if o.images < opinions.images]
    gaps = [
        f"- {shown(o.method)} was rated on {o.images} of {opinions.images} images: its score is over those."
        for o in fewer
    ]
    parts = [
        "# Mean opinion scores",
        _counted(raters),
        aligned(rows),
        "MOS: mean over raters for each image, then over images; 0 is almost identical to the camera's photo, 4 mostly "
        f"different: smaller is better. {_explained(how)}",
        *(["\n".join(gaps)] if gaps else []),
        "## Levels",
        aligned(levels),
        _agreement("ordinal", agreement),
        *_exclusions(raters, rules),
    ]
    return "\n\n".join(parts) + "\n"


def strengths_markdown(scored: Preferences, raters: Sequence[Rater], rules: Rules, agreement: float, how: str) -> str:
    """Return the table of strengths, the matrix of preferences, how far raters agree, and who was left out.

    Args:
        scored: The strengths.
        raters: All of them.
        rules: By which some were left out.
        agreement: Krippendorff's nominal α.
        how: Says how the intervals were drawn.
    """
    rows = [["method", "rank", "strength ↑", "raters", "images", "answers", "not distinguishable from"]]
    rows += [_row(m, m.strength) for m in scored.methods]
    matrix = [["preferred to", *(shown(m.method) for m in scored.methods)]]
    for a, method in enumerate(scored.methods):
        both = scored.wins[a] + scored.wins[:, a]
        cells = [f"{w / n:.2f} ({w}/{n})" if n else "–" for w, n in zip(scored.wins[a], both, strict=True)]
        matrix.append([shown(method.method), *cells])
    apart = (
        f"The methods fall into {scored.groups} groups that were never compared with each other: strengths and ranks "
        "mean something within a group only."
    )
    parts = [
        "# Preferences",
        _counted(raters),
        aligned(rows),
        "Strength: natural logarithm of the Bradley–Terry model's by maximum likelihood, of mean 0; of two methods "
        f"that are d apart, the stronger is preferred e^d times as often. To the answers, {REGULARISED}. "
        f"{_explained(how)}",
        *([apart] if scored.groups > 1 else []),
        "## How often the row was preferred to the column",
        aligned(matrix),
        _agreement("nominal", agreement),
        *_exclusions(raters, rules),
    ]
    return "\n\n".join(parts) + "\n"


def _row(scored: Opinion | Preferred, estimate: Estimate) -> list[str]:
    apart = ", ".join(map(shown, scored.not_told_from)) or "–"
    counts = [str(scored.raters), str(scored.images), str(scored.answers)]
    return [shown(scored.method), str(scored.rank), written(estimate), *counts, apart]


def written(estimate: Estimate) -> str:
    """Return a number with its bounds in brackets, where it has some.

    Example:
        >>> written(Estimate(1.0, 0.874, 1.126))
        '1.00 [0.87, 1.13]'
    """
    value, low, high = (f"{number:.2f}" for number in (estimate.value, estimate.low, estimate.high))
    return value if isnan(estimate.low) else f"{value} [{low}, {high}]"


def _explained(how: str) -> str:
    return (
        f"In brackets: {how}; none with one rater or one image. Equal scores share a rank, and the next ones are left "
        "free. Not distinguishable: the interval of the difference includes zero; these are not corrected for many "
        "comparisons."
    )


def _agreement(distance: str, value: float) -> str:
    if isnan(value):
        return f"Krippendorff's α ({distance}) cannot be said: nothing was rated by two, or all answers are equal."
    return f"Krippendorff's α ({distance}): {value:.3f}. 1: all raters agree; 0: as much as by chance."


def _counted(raters: Sequence[Rater]) -> str:
    kept = [rater for rater in raters if not rater.reasons]
    catches, failed = sum(r.catches for r in raters), sum(r.failed for r in raters)
    return (
        f"{len(kept)} of {len(raters)} raters and {sum(r.answers for r in kept)} of {sum(r.answers for r in raters)} "
        f"answers count. Of {catches} catch trials, which never count, {failed} were answered wrongly."
    )


def _exclusions(raters: Sequence[Rater], rules: Rules) -> list[str]:
    out = [rater for rater in raters if rater.reasons]
    said = "\n".join(["A rater is left out for any of these:", "", *(f"- {rule}" for rule in rules.said())])
    if not out:
        return ["## Left out", said, "Nobody was."]
    table = [["rater", "answers", "why"], *([shown(r.id), str(r.answers), "; ".join(r.reasons)] for r in out)]
    counts = ", ".join(f"{kind} {count}" for kind, count in tally(raters).items())
    return ["## Left out", said, f"{len(out)} raters were: {counts} (who breaks several is in each).", aligned(table)]
