"""What Dutta 2021 says about its network in words (sections 5.4 and 5.5), computed over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lensblend.comparison.rows import learned
from lensblend.comparison.runs import Entry
from lensblend.comparison.statistics import Interval
from lensblend.comparison.studies.analysis import Analysed, interval_of, written
from lensblend.comparison.studies.paper import TABLES

NEAR = "Near regions have larger W0 + W1 than far ones (5.4)"
BIGGER = "W0 in the focus region is larger with bigger kernels than with smaller ones (5.5, Table 3)"
MORE = "More kernels give a smoother background (5.5, Table 2)"
DETAIL = "Phases 2 and 3 keep more detail in the near object than phase 1 (5.5, Table 4)"
SMOOTHER = "Phase 3 gives a smoother background (5.5, Table 4)"
_SIZES = ("kernels.sizes", "model.bank.sizes")


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and what these runs say about it.

    Attributes:
        says: The claim.
        difference: What minus what.
        interval: Mean of the differences image by image, with its interval; None where it could not be computed.
        sign: 1 where the paper claims that the difference is positive, −1 where negative.
        images: Over how many images.
        missing: Why it could not be computed.
    """

    says: str
    difference: str = ""
    interval: Interval | None = None
    sign: int = 1
    images: int = 0
    missing: str = ""

    @property
    def verdict(self) -> str:
        """``holds`` or ``does not hold`` where the interval excludes zero, else ``cannot be said`` and why."""
        if self.interval is None:
            return f"cannot be said: {self.missing}"
        if not self.interval.excludes_zero:
            return f"cannot be said: {'the interval includes zero' if self.images > 1 else 'one image'}"
        return "holds" if self.interval.mean * self.sign > 0 else "does not hold"


def compute_claims(analysed: Sequence[Analysed]) -> list[Claim]:
    """Return the paper's claims in its order, each at least once, and once per group of runs that it is about.

    Runs that differ in their seed only are taken together: a measure is then their mean, image by image.

    Args:
        analysed: All that is compared, a run's phases in their order.
    """
    last = list({one.entry.run_dir: one for one in analysed}.values())
    one_kernel, three_kernels = (row.sizes for row in TABLES[2][1])
    smaller, bigger = (row.sizes for row in TABLES[3][1])
    return [
        *_near(last),
        *_kernels(last, BIGGER, bigger, smaller, "w0_focus", 1),
        *_kernels(last, MORE, three_kernels, one_kernel, "sharpness_background", -1),
        *_phases(analysed, DETAIL, "phase2", "phase1", "sharpness_focus", 1),
        *_phases(analysed, DETAIL, "phase3", "phase1", "sharpness_focus", 1),
        *_phases(analysed, SMOOTHER, "phase3", "phase2", "sharpness_background", -1),
    ]


def claim_cells(claims: Sequence[Claim]) -> list[list[str]]:
    """Return claims as cells, the head first."""
    rows = [["the paper says", "difference", "mean", "images", "verdict"]]
    for claim in claims:
        count = str(claim.images) if claim.interval else "–"
        rows.append([claim.says, claim.difference or "–", written(claim.interval, True), count, claim.verdict])
    return rows


def group_name(labels: Sequence[str]) -> str:
    """Return what runs' labels share, and how many they are.

    Example:
        >>> group_name(["gaussian_75 · seed=0", "gaussian_75 · seed=1"])
        'gaussian_75 (mean of 2 runs)'
    """
    if len(labels) == 1:
        return labels[0]
    split = [label.split(" · ") for label in labels]
    shared = [part for part in split[0] if all(part in parts for parts in split)]
    return f"{' · '.join(shared) or ', '.join(labels)} (mean of {len(labels)} runs)"


def alike(analysed: Sequence[Analysed], but: Sequence[str] = ()) -> dict[str, list[Analysed]]:
    """Group entries of the same phase whose configurations differ in their seed only, see `learned`.

    Args:
        analysed: What to group.
        but: Further keys in which entries of a group may differ.
    """
    groups: dict[str, list[Analysed]] = {}
    for one in analysed:
        groups.setdefault(f"{one.entry.phase} {learned(one.entry, but)}", []).append(one)
    return groups


def _near(entries: Sequence[Analysed]) -> list[Claim]:
    claims = []
    for group in alike([one for one in entries if len(one.maps) > 2]).values():
        near, far = (_mean(group, f"w0_fifth{j}") + _mean(group, f"w1_fifth{j}") for j in (1, 5))
        what = f"W0 + W1 of {group_name([one.label for one in group])}: nearest − farthest fifth"
        claims.append(_claim(NEAR, what, near - far, 1, "no image has a disparity"))
    return claims or [Claim(NEAR, missing="no run here has weights of two kernels or more")]


def _kernels(
    entries: Sequence[Analysed], says: str, first: Sequence[int], second: Sequence[int], measure: str, sign: int
) -> list[Claim]:
    claims = []
    for group in alike([one for one in entries if one.maps], _SIZES).values():
        ours, theirs = ([one for one in group if _sizes(one.entry) == tuple(sizes)] for sizes in (first, second))
        if ours and theirs:
            claims.append(_difference(says, ours, theirs, measure, sign))
    sizes = " and ".join(str(list(sizes)) for sizes in (first, second))
    return claims or [Claim(says, missing=f"no two runs here differ in their Gaussian kernels only, {sizes}")]


def _phases(analysed: Sequence[Analysed], says: str, later: str, earlier: str, measure: str, sign: int) -> list[Claim]:
    claims = []
    found = {(one.entry.run_dir, one.entry.phase): one for one in analysed}
    for group in alike([one for one in analysed if one.entry.phase == later]).values():
        pairs = [(one, found[key]) for one in group if (key := (one.entry.run_dir, earlier)) in found]
        if pairs:
            ours, theirs = ([pair[i] for pair in pairs] for i in (0, 1))
            claims.append(_difference(says, ours, theirs, measure, sign))
    missing = f"no run is here with {later} and {earlier}; `--table 4` compares every phase"
    return claims or [Claim(says, missing=missing)]


def _difference(says: str, ours: list[Analysed], theirs: list[Analysed], measure: str, sign: int) -> Claim:
    names = (group_name([one.label for one in group]) for group in (ours, theirs))
    what = {"w0_focus": "W0 in focus", "sharpness_focus": "sharpness in focus"}.get(measure, "background's sharpness")
    values = _mean(ours, measure) - _mean(theirs, measure)
    return _claim(says, f"{what}: {' − '.join(names)}", values, sign, "no image has a mask")


def _claim(says: str, difference: str, values: Float[np.ndarray, " images"], sign: int, missing: str) -> Claim:
    return Claim(says, difference, interval_of(values), sign, int(np.isfinite(values).sum()), missing)


def _mean(group: Sequence[Analysed], measure: str) -> Float[np.ndarray, " images"]:
    return np.mean([one.values[measure] for one in group], axis=0)


def _sizes(entry: Entry) -> tuple[int, ...]:
    """Return a run's Gaussian kernel sizes; none where it blurs otherwise."""
    bank: Mapping = entry.config.get("model", {}).get("bank", {})
    return tuple(bank.get("sizes", ())) if bank.get("family") == "gaussian" else ()
