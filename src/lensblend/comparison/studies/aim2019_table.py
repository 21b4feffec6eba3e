"""Table 1 of the AIM 2019 challenge and our runs, in two tables that are never mixed: as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isnan, log10
from statistics import fmean
from typing import Any

from lensblend.comparison.lines import Line
from lensblend.comparison.rows import learned
from lensblend.comparison.runs import Entry
from lensblend.comparison.scored import Scored
from lensblend.comparison.studies.aim2019 import (
    FIDELITY,
    SOURCE,
    TEAMS,
    TRACKS,
    TWO_SOLUTIONS,
    Team,
    differences_of,
    phase_of,
    team_of,
    tracks_of,
)
from lensblend.comparison.studies.claims import group_name
from lensblend.comparison.studies.paper import METRICS
from lensblend.comparison.studies.recipes import Recipes
from lensblend.inference.evaluation import aligned
from lensblend.metrics.fidelity import Psnr, Ssim
from lensblend.metrics.per_image import PerImageMetric
from lensblend.storage import csv_text

RANKED: tuple[type[PerImageMetric], ...] = (Psnr, Ssim)


@dataclass(frozen=True)
class OurRow:
    """A run's result in one or both tracks; runs that differ in their seed only are one row, the mean of them.

    Attributes:
        team: Whose entry it follows.
        tracks: In which it stands for that team.
        label: Names the run or runs.
        phase: Whose result it is.
        runs: How many.
        means: By metric, over the images.
        seconds: Median of a photo's forward pass.
        hardware: On which.
        image_size: Height and width at which the network works.
        parameters: Of the network.
        macs: Multiply-accumulates of a photo's forward pass.
        differences: From the team's entry.
    """

    team: Team
    tracks: tuple[str, ...]
    label: str
    phase: str
    runs: int
    means: Mapping[str, float]
    seconds: float
    hardware: str
    image_size: tuple[int, int]
    parameters: int
    macs: float
    differences: tuple[str, ...]


def our_rows(
    entries: Sequence[Entry],
    lines: Sequence[Line],
    scored: Sequence[Scored],
    phase: str | None = None,
    recipes: Recipes | None = None,
) -> list[OurRow]:
    """Return our results, the teams in the order of the challenge's table.

    Args:
        entries: The runs compared.
        lines: Their means, in the same order.
        scored: What was scored and measured, in the same order.
        phase: The phase that the user chose, if any.
        recipes: With what runs are compared; see `differences_of`.
    """
    rows = []
    for team in TEAMS:
        groups: dict[str, list[tuple[Entry, Line, Scored]]] = {}
        for entry, line, result in zip(entries, lines, scored, strict=True):
            if team_of(entry.config) == team and tracks_of(entry, phase):
                groups.setdefault(f"{entry.phase} {learned(entry)}", []).append((entry, line, result))
        rows += [_row(team, group, phase, recipes) for group in groups.values()]
    return rows


def _row(team: Team, group: Sequence[tuple[Entry, Line, Scored]], phase: str | None, recipes: Recipes | None) -> OurRow:
    entry, line, result = group[0]
    about = [scored.about for _, _, scored in group]
    height, width = result.about["image_size"]
    return OurRow(
        team,
        tracks_of(entry, phase),
        group_name([line.label for _, line, _ in group]),
        entry.phase,
        len(group),
        {metric: fmean(line.means[metric].mean for _, line, _ in group) for metric in line.means},
        fmean(one["seconds"] for one in about),
        " and ".join(dict.fromkeys(one["hardware"] for one in about)),
        (height, width),
        line.parameters,
        fmean(one["macs"] for one in about),
        tuple(differences_of(entry, recipes)),
    )


def ranks(values: Sequence[float], larger_is_better: bool = True) -> list[int | None]:
    """Return each value's place, 1 for the best; equal values share a place and the next ones are left free.

    A value that is not a number has no place.

    Example:
        >>> ranks([0.89, 0.87, 0.89, 0.88])
        [1, 4, 1, 3]
    """
    signed = [value if larger_is_better else -value for value in values]
    return [None if isnan(own) else 1 + sum(other > own for other in signed) for own in signed]


def our_ranks(rows: Sequence[OurRow], metric: type[PerImageMetric]) -> list[dict[str, int | None]]:
    """Return each row's places by a metric, by track, among the rows of that track."""
    places: list[dict[str, int | None]] = [{} for _ in rows]
    for track in TRACKS:
        inside = [index for index, row in enumerate(rows) if track in row.tracks]
        found = ranks([rows[index].means[metric.name] for index in inside], metric.higher_is_better)
        for index, place in zip(inside, found, strict=True):
            places[index][track] = place
    return places


def challenge_cells() -> list[list[str]]:
    """Return the challenge's Table 1 as cells, the head first; ranks in parentheses where it prints them."""
    figures = [f"{track[0].upper()}-{metric.title()}" for track in TRACKS for metric in RANKED]
    rows = [["team", "hardware", "seconds", *figures, "MOS ↓"]]
    for team in TEAMS:
        (psnr, ssim), (other_psnr, other_ssim) = team.fidelity, team.perceptual
        seconds = f"{team.seconds:g}{' (CPU)' if team.on_cpu else ''}"
        figures = [f"{psnr:.2f} ({team.psnr_rank})", f"{ssim:.2f}", f"{other_psnr:.2f}", f"{other_ssim:.2f}"]
        rows.append([team.name, team.hardware, seconds, *figures, f"{team.mos:.2f} ({team.mos_rank})"])
    return rows


def our_cells(rows: Sequence[OurRow]) -> list[list[str]]:
    """Return our rows as cells, the head first, each mean with its places in parentheses.

    Args:
        rows: At least one.
    """
    metrics = [metric for metric in METRICS if metric.name in rows[0].means]
    measured = ["seconds", "device", "size", "parameters", "GMAC", "our run"]
    cells = [["team", "track", *(metric.title() for metric in metrics), *measured]]
    places = {metric: our_ranks(rows, metric) for metric in RANKED if metric in metrics}
    for index, row in enumerate(rows):
        means = []
        for metric in metrics:
            said = ", ".join(f"{t[0].upper()} {p}" for t, p in places.get(metric, [{}] * len(rows))[index].items() if p)
            means.append(f"{metric.written(row.means[metric.name])}{f' ({said})' if said else ''}")
        size = "×".join(map(str, row.image_size))
        cost = [digits(row.seconds), row.hardware, size, f"{row.parameters:,}", digits(row.macs / 1e9)]
        tracks = "both" if row.tracks == TRACKS else row.tracks[0]
        cells.append([row.team.name, tracks, *means, *cost, row.label])
    return cells


def digits(value: float) -> str:
    """Return a positive number with three significant digits, those before the point in full.

    Example:
        >>> digits(0.01234), digits(2.5), digits(1234.5)
        ('0.0123', '2.50', '1234')
    """
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}" if value > 0 else "0"


def missing_lines(rows: Sequence[OurRow]) -> list[str]:
    """Say which teams, or tracks of a team, have no run, and which command trains one."""
    lines = []
    for team in TEAMS:
        found = {track for row in rows if row.team == team for track in row.tracks}
        missing = [track for track in TRACKS if track not in found]
        if missing:
            which = f", {missing[0]}" if found else ""
            named = [f"{phase_of(t)} is the {t} one" for t in missing] if team.name == TWO_SOLUTIONS else []
            after = f" ({', '.join(named)})" if named else ""
            lines.append(f"- {team.name}{which}: no finished run among these; `{team.command}` trains one{after}.")
    return lines


def challenge_markdown(
    rows: Sequence[OurRow], images: str, data: str, phase: str | None = None, rated: bool = False
) -> str:
    """Return both tables as Markdown, with what each is a mean of, and how to get what is missing.

    Args:
        rows: Ours; none where no run is a team's.
        images: Over which images ours are means, such as ``16 validation images``.
        data: The class of the data that these are of.
        phase: The phase that the user chose, if any.
        rated: Whether people were asked about ours.
    """
    theirs = (
        f"As printed in {SOURCE}: means over the challenge's about 200 test photos, which are not public. "
        "F: Fidelity track, P: Perceptual track; MOS is the latter's, from 0 (almost identical) to 4 (mostly "
        "different). Seconds are the teams' own, on different hardware."
    )
    parts = ["### AIM 2019 challenge, Table 1: results", theirs, aligned(challenge_cells())]
    parts.append("### AIM 2019 challenge: our runs")
    if rows:
        opinions = "Other people rated ours (MOS), on other photos." if rated else "Nobody has rated ours (MOS)."
        parts.append(
            f"Ours: means over {images} of {data}{f', {phase}' if phase else ''}, other photos than "
            "the challenge's: compare runs with runs, not these figures with those above. In parentheses the place "
            "among our runs of the track (F, P). Seconds: median of the network's own pass per photo, at the size and "
            f"on the device named; GMAC: of the same pass. {opinions}"
        )
        parts.append(aligned(our_cells(rows)))
        notes: dict[str, list[str]] = {}
        for row in rows:
            notes.setdefault("; ".join(row.differences), []).append(f"{row.team.name} · {row.label}")
        differing = [f"- {', '.join(who)}: {what}." for what, who in notes.items() if what]
        if differing:
            parts.append("\n".join(["In what ours differ from the team's entry:", "", *differing]))
    else:
        parts.append("None of these runs is a team's.")
    missing = missing_lines(rows)
    return "\n\n".join([*parts, *(["\n".join(missing)] if missing else [])])


def challenge_csv(rows: Sequence[OurRow], images: int) -> str:
    """Return a row per team and track of the challenge, then of ours; empty where there is no such figure."""
    columns = ["source", "team", "track", "run", "runs", "phase", "count", "psnr", "psnr_rank", "ssim", "ssim_rank"]
    columns += ["lpips", "mos", "mos_rank", "seconds", "hardware", "height", "width", "parameters", "macs"]
    lines: list[dict[str, Any]] = []
    for team in TEAMS:
        for track in TRACKS:
            psnr, ssim = team.figures(track)
            own = {"psnr_rank": team.psnr_rank} if track == FIDELITY else {"mos": team.mos, "mos_rank": team.mos_rank}
            cost = {"seconds": team.seconds, "hardware": f"{team.hardware}{' (CPU)' if team.on_cpu else ''}"}
            common = {"source": "challenge", "team": team.name, "track": track, "psnr": psnr, "ssim": ssim}
            lines.append({**common, **own, **cost})
    places = {metric: our_ranks(rows, metric) for metric in RANKED}
    for index, row in enumerate(rows):
        for track in row.tracks:
            common = {"source": "ours", "team": row.team.name, "track": track, "run": row.label, "runs": row.runs}
            found = {f"{metric.name}_rank": places[metric][index][track] for metric in RANKED}
            means = {metric: repr(mean) for metric, mean in row.means.items() if metric in columns}
            cost = {"seconds": repr(row.seconds), "hardware": row.hardware, "macs": round(row.macs)}
            size = {"height": row.image_size[0], "width": row.image_size[1], "parameters": row.parameters}
            lines.append({**common, "phase": row.phase, "count": images, **means, **found, **cost, **size})
    return csv_text([columns, *([line.get(column) for column in columns] for line in lines)])
