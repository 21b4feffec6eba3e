"""What sections 3.2 and 3.3 of the AIM 2019 report observe, computed from its printed figures; the same of our runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from scipy.stats import spearmanr

from lensblend.comparison.studies.aim2019 import FIDELITY, PERCEPTUAL, TEAMS, TRACKS, TWO_SOLUTIONS, Team
from lensblend.comparison.studies.aim2019_table import OurRow, ranks
from lensblend.inference.evaluation import aligned

NO_THRESHOLD = "a matter of degree: the report names no threshold"
# Of all 9! and 8! orders, one in twenty reaches these: 0.043 and 0.046 of them, both signs together, without ties.
WEAK = (
    "ρ: Spearman's rank correlation, 1 where two orders agree, MOS turned round so that better is larger. With nine "
    "points |ρ| reaches 0.70 in one of twenty random orders, with eight 0.71: a smaller one cannot be told from "
    "chance, and a larger one says little of other teams, and nothing of causes."
)


@dataclass(frozen=True)
class Observation:
    """A statement, and what the figures say about it.

    Attributes:
        says: The statement, in brief.
        computed: The figures.
        verdict: Whether it holds, as printed figures can tell.
    """

    says: str
    computed: str
    verdict: str


def correlation(first: Sequence[float], second: Sequence[float]) -> str:
    """Return Spearman's rank correlation and the number of points, or why there is none.

    Example:
        >>> correlation([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0])
        'ρ = 0.80 (n = 4)'
        >>> correlation([1.0, 2.0], [1.0, 2.0])
        'cannot be said: 2 of 3 points needed'
    """
    known = [pair for pair in zip(first, second, strict=True) if all(isfinite(value) for value in pair)]
    if len(known) < 3:
        return f"cannot be said: {len(known)} of 3 points needed"
    if any(len(set(values)) == 1 for values in zip(*known, strict=True)):
        return "cannot be said: all values are equal"
    return f"ρ = {float(spearmanr(*zip(*known, strict=True)).statistic):.2f} (n = {len(known)})"


def observations(teams: Sequence[Team] = TEAMS) -> list[Observation]:
    """Return each quantitative sentence of section 3.2, and one of Dutta 2021, with what the printed figures say.

    Section 3.3 has none.

    Args:
        teams: The challenge's table.
    """
    return [*_quality(teams), *_runtime(teams), _two_solutions(teams)]


def _quality(teams: Sequence[Team]) -> list[Observation]:
    opinion = [-team.mos for team in teams]
    differing = [team.name for team in teams if team.fidelity != team.perceptual]
    verdict = _verdict(differing == [TWO_SOLUTIONS])
    found = [Observation("All teams but CVL-IITM sent one solution to both tracks", _list(differing), verdict)]
    for index, metric in enumerate(("PSNR", "SSIM")):
        said = [f"{t[0].upper()}: {correlation(opinion, [team.figures(t)[index] for team in teams])}" for t in TRACKS]
        says = f"The ranking by MOS does not strongly correlate with {metric}"
        found.append(Observation(says, ", ".join(said), NO_THRESHOLD))
    places = _places(teams)
    for name, psnr, mos, says in (
        ("VIDAR", 1, 4, "VIDAR is first in fidelity, fourth in perceptual quality"),
        ("islab-zju", 2, 1, "islab-zju is second in fidelity, first in perceptual quality"),
    ):
        computed = f"F-PSNR {places[name][0]}, MOS {places[name][1]}"
        found.append(Observation(says, computed, _verdict(places[name] == (psnr, mos))))
    by_mos = sorted(teams, key=lambda team: team.mos)
    gaps = [after.mos - before.mos for before, after in pairwise(by_mos)]
    computed = (
        f"MOS {by_mos[0].mos:.2f} and {by_mos[1].mos:.2f}; neighbours are {min(gaps):.2f} to {max(gaps):.2f} apart"
    )
    holds = [team.name for team in by_mos[:2]] == ["islab-zju", "CVL-IITM"] and gaps[0] == min(gaps)
    return [
        *found,
        Observation("islab-zju is slightly above CVL-IITM in perceptual quality", computed, _verdict(holds)),
    ]


def _runtime(teams: Sequence[Team]) -> list[Observation]:
    gpu = [team for team in teams if not team.on_cpu]
    least, most = min(team.seconds for team in gpu), max(team.seconds for team in gpu)
    holds = round(least, 1) == 0.1 and most > 2.5
    found = [
        Observation(
            "On GPUs the seconds go from 0.1 to more than 2.5",
            f"{least:g} to {most:g}; on a CPU, apart: {_list([f'{t.name} {t.seconds:g}' for t in teams if t.on_cpu])}",
            "holds" if holds else f"does not hold as printed: from {least:.1f} to {most:.1f}",
        )
    ]
    places = _places(teams)
    fastest = sorted((team for team in gpu if round(team.seconds, 1) == 0.1), key=lambda team: team.seconds)
    others = [places[team.name][1] for team in gpu if team not in fastest]
    computed = ", ".join(f"{team.name} {team.seconds:g} s: MOS {places[team.name][1]}" for team in fastest)
    worst = bool(fastest) and min(places[team.name][1] for team in fastest) > max(others, default=0)
    says = "The fastest (0.1 s) are among the worst in perceptual quality"
    found.append(Observation(says, f"{computed} of {len(teams)}", _verdict(worst)))
    slower = correlation([team.seconds for team in gpu], [-team.mos for team in gpu])
    found.append(Observation("The same as a correlation: slower on a GPU, better MOS", slower, NO_THRESHOLD))
    top = {"VIDAR": 0.53, "islab-zju": 0.27, "CVL-IITM": 0.8}
    seconds = {team.name: team.seconds for team in teams}
    best = {*_best(teams, 0, 1), *_best(teams, 1, 2)}
    computed = ", ".join(f"{name} {seconds[name]:g}" for name in top)
    holds = best == set(top) and all(seconds[name] == value for name, value in top.items())
    says = "The best by F-PSNR takes 0.53 s, the two best by MOS take 0.27 and 0.8 s"
    return [*found, Observation(says, computed, _verdict(holds))]


def _two_solutions(teams: Sequence[Team]) -> Observation:
    """Check the places that Dutta 2021, section 5.6, states for its two entries."""
    own = next(team for team in teams if team.name == TWO_SOLUTIONS)
    psnr, mos = _places(teams)[own.name]
    ssim = sorted({team.fidelity[1] for team in teams}, reverse=True).index(own.fidelity[1]) + 1
    above = sum(team.fidelity[1] > own.fidelity[1] for team in teams)
    computed = f"F-PSNR {psnr}, F-SSIM {ssim} of the different values ({above} teams above), MOS {mos}"
    says = "CVL-IITM: 6th in PSNR, 3rd in SSIM, 2nd in MOS (Dutta 2021, section 5.6)"
    holds = (psnr, ssim, mos) == (6, 3, 2)
    return Observation(says, computed, "holds where equal values share a place" if holds else _verdict(False))


def our_lines(rows: Sequence[OurRow]) -> list[str]:
    """Say of our runs what can be said without opinions: do PSNR and SSIM agree, and are slower runs better?

    Args:
        rows: See `lensblend.comparison.studies.aim2019_table.our_rows`.
    """
    lines = []
    for track in (FIDELITY, PERCEPTUAL):
        inside = [row for row in rows if track in row.tracks]
        psnr = [row.means["psnr"] for row in inside]
        agree = correlation(psnr, [row.means["ssim"] for row in inside])
        lines.append(f"- {track.capitalize()} track, PSNR with SSIM: {agree}.")
        devices = list(dict.fromkeys(row.hardware for row in inside))
        slower = correlation([row.seconds for row in inside], psnr)
        if len(devices) > 1:
            slower = f"cannot be said: seconds are of different devices ({', '.join(devices)})"
        lines.append(f"- {track.capitalize()} track, seconds with PSNR: {slower}.")
    return lines


def observations_markdown(rows: Sequence[OurRow]) -> str:
    """Return the report's observations, computed, and in lines of their own those of our runs.

    Args:
        rows: Ours; none where no run is a team's.
    """
    cells = [["the report says (section 3.2)", "the printed figures say", "verdict"]]
    cells += [[one.says, one.computed, one.verdict] for one in observations()]
    parts = ["### AIM 2019 challenge: what the report observes", aligned(cells), WEAK]
    if rows:
        parts += [
            "Our runs, by the figures above, one point a row (no opinions, so no MOS):",
            "\n".join(our_lines(rows)),
        ]
    return "\n\n".join(parts)


def _places(teams: Sequence[Team]) -> dict[str, tuple[int, int]]:
    """Return each team's places by the Fidelity track's PSNR and by MOS."""
    psnr = ranks([team.fidelity[0] for team in teams])
    mos = ranks([team.mos for team in teams], larger_is_better=False)
    return {team.name: (p or 0, m or 0) for team, p, m in zip(teams, psnr, mos, strict=True)}


def _best(teams: Sequence[Team], which: int, count: int) -> list[str]:
    """Return the first teams by F-PSNR (0) or MOS (1)."""
    return [name for name, places in _places(teams).items() if places[which] <= count]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "does not hold"
