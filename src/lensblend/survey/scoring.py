"""Score a study: leave out who does not count, score the methods, and write tables and a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lensblend.errors import DataError
from lensblend.storage import remove, write_atomically
from lensblend.survey.agreement import alpha_of
from lensblend.survey.answer_files import answers_csv
from lensblend.survey.answers import Answer
from lensblend.survey.exclusions import Rules, counted, judge
from lensblend.survey.levels import score_levels
from lensblend.survey.preferences import score_pairs
from lensblend.survey.rating_tables import (
    differences_csv,
    mos_csv,
    mos_markdown,
    preferences_csv,
    raters_csv,
    strengths_csv,
    strengths_markdown,
)
from lensblend.survey.resampling import Resampling
from lensblend.survey.score_chart import MOS_LABEL, STRENGTH_LABEL, score_chart

LEVEL_FILES = ("mos.csv", "mos.md", "mos.png")
PAIR_FILES = ("strengths.csv", "strengths.md", "strengths.png", "preferences.csv")


def score_study(answers: Sequence[Answer], rules: Rules, how: Resampling, output: Path) -> tuple[str, list[str]]:
    """Score a study and write all that is known of it into a folder.

    Of a study of levels these are mos.csv, mos.md and mos.png; of pairs strengths.csv, strengths.md, strengths.png and
    preferences.csv; of both differences.csv, raters.csv and answers.csv.

    Args:
        answers: All of them, catch trials included.
        rules: Who is left out.
        how: How intervals are drawn.
        output: The folder; it is made. An earlier study's tables of the other kind are removed from it.

    Returns:
        What mos.md or strengths.md says, and the files' names.

    Raises:
        DataError: No answer counts, or they are of two kinds, or given twice.
        StorageError: A file cannot be written.
    """
    if not answers:
        raise DataError("There are no answers yet; ask people first.")
    raters = judge(answers, rules)
    kept = counted(answers, raters)
    agreement = alpha_of(kept)
    files: dict[str, str | bytes]
    other: tuple[str, ...]
    if kept[0].other is None:
        opinions = score_levels(kept, how)
        found, other = opinions.differences, PAIR_FILES
        text = mos_markdown(opinions, raters, rules, agreement, how.said())
        chart = score_chart([(o.method, o.mos) for o in opinions.methods], MOS_LABEL)
        files = {"mos.csv": mos_csv(opinions), "mos.md": text, "mos.png": chart}
    else:
        scored = score_pairs(kept, how)
        found, other = scored.differences, LEVEL_FILES
        text = strengths_markdown(scored, raters, rules, agreement, how.said())
        chart = score_chart([(m.method, m.strength) for m in scored.methods], STRENGTH_LABEL)
        files = {"strengths.csv": strengths_csv(scored), "strengths.md": text, "strengths.png": chart}
        files["preferences.csv"] = preferences_csv(scored)
    files |= {"differences.csv": differences_csv(found), "raters.csv": raters_csv(raters)}
    files["answers.csv"] = answers_csv(answers)
    for name, content in files.items():
        write_atomically(output / name, content)
    for name in other:
        remove(output / name)
    return text, list(files)
