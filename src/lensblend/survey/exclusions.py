"""Which raters count: rules that are stated, applied to everybody alike, and never without a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from lensblend.errors import DataError
from lensblend.survey.answers import Answer


@dataclass(frozen=True)
class Rules:
    """When a rater's answers are left out.

    Attributes:
        failed: More than this share of catch trials answered wrongly, 0 to 1.
        tolerance: Levels by which the answer to a catch trial may be off; a preference may not.
        answers: Fewer answers than this, catch trials aside.
        seconds: A median time per answer, catch trials included, below this.
        constant: Leave out who gave one level throughout, in a study of levels.
    """

    failed: float = 0.25
    tolerance: int = 1
    answers: int = 5
    seconds: float = 1.0
    constant: bool = True

    def said(self) -> list[str]:
        """Return the rules in words, in the order in which `reasons` looks."""
        levels = "level" if self.tolerance == 1 else "levels"
        rules = [
            f"more than {self.failed:.0%} of the catch trials answered wrongly (off by more than {self.tolerance} "
            f"{levels}, or the other one preferred)",
            f"fewer than {self.answers} answers, catch trials aside",
            f"a median time below {self.seconds:g} s per answer",
        ]
        return [*rules, *(["one level throughout"] if self.constant else [])]


@dataclass(frozen=True)
class Rater:
    """What is known of a rater.

    Attributes:
        id: A random one.
        answers: Number of them, catch trials aside.
        catches: Number of catch trials.
        failed: How many of these were answered wrongly.
        seconds: Median time per answer.
        reasons: Why the answers are left out; none where they count.
    """

    id: str
    answers: int
    catches: int
    failed: int
    seconds: float
    reasons: tuple[str, ...]


def judge(answers: Sequence[Answer], rules: Rules) -> list[Rater]:
    """Look at every rater, in the order of their first answers.

    Example:
        >>> judge([Answer("r", "1", "a", None, 3, 0, 2.0)], Rules())[0].reasons
        ('failed 1 of 1 catch trials', '0 answers')
    """
    by_rater: dict[str, list[Answer]] = {}
    for answer in answers:
        by_rater.setdefault(answer.rater, []).append(answer)
    return [_judge(rater, own, rules) for rater, own in by_rater.items()]


def _judge(rater: str, answers: Sequence[Answer], rules: Rules) -> Rater:
    counted = [answer for answer in answers if answer.expected is None]
    caught = [answer for answer in answers if answer.expected is not None]
    failed = sum(_is_wrong(answer, rules.tolerance) for answer in caught)
    seconds = float(median(answer.seconds for answer in answers))
    reasons = []
    if caught and failed / len(caught) > rules.failed:
        reasons.append(f"failed {failed} of {len(caught)} catch trials")
    if len(counted) < rules.answers:
        reasons.append(f"{len(counted)} answer{'' if len(counted) == 1 else 's'}")
    if seconds < rules.seconds:
        reasons.append(f"median time {seconds:.2g} s")
    values = {answer.value for answer in counted}
    if rules.constant and len(counted) > 1 and len(values) == 1 and counted[0].other is None:
        reasons.append(f"level {values.pop()} throughout")
    return Rater(rater, len(counted), len(caught), failed, seconds, tuple(reasons))


def _is_wrong(answer: Answer, tolerance: int) -> bool:
    if answer.expected is None:
        return False
    return abs(answer.value - answer.expected) > (tolerance if answer.other is None else 0)


def counted(answers: Sequence[Answer], raters: Sequence[Rater]) -> list[Answer]:
    """Return the answers that scores are made of: of raters who are not left out, catch trials aside.

    Raises:
        DataError: There are none.
    """
    kept = {rater.id for rater in raters if not rater.reasons}
    found = [answer for answer in answers if answer.rater in kept and answer.expected is None]
    if not found:
        why = ", ".join(f"{reason} ({count})" for reason, count in tally(raters).items())
        raise DataError(
            f"None of {len(answers)} answers counts: {len(raters)} raters, all left out ({why or 'there are none'}); "
            "collect more answers, or loosen the rules (`lensblend survey score --help`)."
        )
    return found


def tally(raters: Sequence[Rater]) -> Mapping[str, int]:
    """Return how many raters are left out by each rule; one who breaks several counts under each."""
    kinds = {"catch trials": "catch trials", "answer": "too few answers", "median": "too fast", "level": "one level"}
    counts: dict[str, int] = {}
    for rater in raters:
        for reason in rater.reasons:
            kind = next(name for mark, name in kinds.items() if mark in reason)
            counts[kind] = counts.get(kind, 0) + 1
    return counts
