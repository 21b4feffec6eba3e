from pathlib import Path

import numpy as np
import pytest

from lensblend.comparison.runs import Entry
from lensblend.comparison.statistics import difference_interval
from lensblend.comparison.studies.analysis import Analysed
from lensblend.comparison.studies.claims import (
    BIGGER,
    DETAIL,
    MORE,
    NEAR,
    SMOOTHER,
    alike,
    claim_cells,
    compute_claims,
)

IMAGES = 12
NOISE = np.random.default_rng(0).normal(0, 0.01, (20, IMAGES))
PROPOSED, ONE, SMALL = (25, 45, 75), (75,), (5, 25, 45)


def run(sizes=PROPOSED, seed=0, phase="phase3", folder=None, lr=1e-3, near=0.9, far=0.3, **means):
    """A run whose measures are these means, with a little noise that its images do not share."""
    bank = {"family": "gaussian", "sizes": list(sizes)}
    config = {"kernels": dict(bank), "model": {"bank": bank}, "seed": seed, "lr": lr, "run_dir": f"runs/{sizes}{seed}"}
    entry = Entry(Path(folder or f"runs/{sizes}{seed}"), phase, config)
    count = len(sizes) + 1
    values = {f"w{i}_fifth{j}": np.zeros(IMAGES) for i in range(count) for j in range(1, 6)}
    values["w0_fifth1"], values["w0_fifth5"] = near + NOISE[0] - 0.1, far + NOISE[1]
    values["w1_fifth1"] = np.full(IMAGES, 0.1)
    for place, name in enumerate(("w0_focus", "sharpness_focus", "sharpness_background")):
        values[name] = means.get(name, 0.5) + NOISE[place + 2 + seed]
    return Analysed(f"{sizes} · seed={seed} · {phase}", entry, tuple(f"W{i}" for i in range(count)), values)


def assert_equal(ours, expected):
    assert (ours.mean, ours.low, ours.high) == pytest.approx((expected.mean, expected.low, expected.high))


def told(analysed):
    """Each claim's verdicts."""
    verdicts = {}
    for claim in compute_claims(analysed):
        verdicts.setdefault(claim.says, []).append(claim.verdict.split(":")[0])
    return verdicts


def test_the_sum_of_the_first_two_weights_is_set_near_against_far():
    claim = compute_claims([run()])[0]
    assert claim.says == NEAR
    assert_equal(claim.interval, difference_interval((0.9 + NOISE[0]).tolist(), (0.3 + NOISE[1]).tolist()))
    assert (claim.verdict, claim.images) == ("holds", IMAGES)
    assert told([run(near=0.2)])[NEAR] == ["does not hold"]
    assert told([run(near=0.3)])[NEAR] == ["cannot be said"]
    # With one kernel the two weights are all there is.
    assert told([run(ONE)])[NEAR] == ["cannot be said"]


@pytest.mark.parametrize(
    ("claim", "other", "measure", "sign"),
    [(BIGGER, SMALL, "w0_focus", 1), (MORE, ONE, "sharpness_background", -1)],
)
def test_kernel_sets_are_set_against_each_other(claim, other, measure, sign):
    ours, theirs = run(**{measure: 0.5 + 0.1 * sign}), run(other)
    assert told([ours, theirs])[claim] == told([theirs, ours])[claim] == ["holds"]
    assert told([run(**{measure: 0.5 - 0.1 * sign}), theirs])[claim] == ["does not hold"]
    assert told([run(), run(other)])[claim] == ["cannot be said"]
    assert told([ours])[claim] == ["cannot be said"]


def test_runs_of_several_seeds_are_taken_together_image_by_image():
    ours = [run(seed=seed, w0_focus=0.6) for seed in range(3)]
    theirs = [run(SMALL, seed=seed) for seed in range(3)]
    claims = [claim for claim in compute_claims([*ours, *theirs]) if claim.says == BIGGER]
    assert len(claims) == 1
    means = [np.mean([one.values["w0_focus"] for one in group], axis=0).tolist() for group in (ours, theirs)]
    assert_equal(claims[0].interval, difference_interval(*means))
    assert "(25, 45, 75) · phase3 (mean of 3 runs) − (5, 25, 45) · phase3 (mean of 3 runs)" in claims[0].difference


def test_runs_that_differ_in_more_than_their_kernels_are_not_set_against_each_other():
    claim = next(c for c in compute_claims([run(w0_focus=0.6), run(SMALL, lr=1e-4)]) if c.says == BIGGER)
    assert claim.verdict.startswith("cannot be said: no two runs here differ in their Gaussian kernels only")
    # Two experiments of their own are two answers.
    both = [run(w0_focus=0.6), run(SMALL), run(lr=1e-4, folder="b"), run(SMALL, lr=1e-4, folder="c", w0_focus=0.6)]
    assert told(both)[BIGGER] == ["holds", "does not hold"]


def test_phases_are_set_against_each_other_within_a_run():
    def phases(**means):
        measures = {"phase1": 0.5, "phase2": 0.6, "phase3": 0.7, **means}
        return [run(phase=name, sharpness_focus=mean, sharpness_background=1 - mean) for name, mean in measures.items()]

    assert told(phases())[DETAIL] == ["holds", "holds"]
    assert told(phases())[SMOOTHER] == ["holds"]
    assert told(phases(phase2=0.4))[DETAIL] == ["does not hold", "holds"]
    assert told(phases(phase3=0.4))[SMOOTHER] == ["does not hold"]
    # Without the second phase only one of the two can be said, and nothing of the fine-tuning.
    some = [one for one in phases() if one.entry.phase != "phase2"]
    assert told(some)[DETAIL] == ["cannot be said", "holds"]
    claim = compute_claims(some)[-1]
    assert "`--table 4` compares every phase" in claim.verdict


def test_kernels_are_compared_in_each_runs_last_phase():
    runs = [run(phase="phase1", w0_focus=0.1), run(w0_focus=0.6), run(SMALL, phase="phase1"), run(SMALL)]
    assert told(runs)[BIGGER] == ["holds"]


def test_images_without_a_mask_are_not_counted():
    ours, theirs = run(w0_focus=0.6), run(SMALL)
    for one in (ours, theirs):
        one.values["w0_focus"][:7] = np.nan
    claim = next(c for c in compute_claims([ours, theirs]) if c.says == BIGGER)
    assert (claim.images, claim.verdict) == (5, "holds")
    for one in (ours, theirs):
        one.values["w0_focus"][:11] = np.nan
    assert next(c for c in compute_claims([ours, theirs]) if c.says == BIGGER).verdict == "cannot be said: one image"
    for one in (ours, theirs):
        one.values["w0_focus"][:] = np.nan
    assert "no image has a mask" in next(c for c in compute_claims([ours, theirs]) if c.says == BIGGER).verdict


def test_a_claim_is_written_with_its_numbers_or_without():
    head, *rows = claim_cells(compute_claims([run()]))
    assert all(len(row) == len(head) for row in rows)
    assert rows[0][2].startswith("+0.6")
    assert rows[1][1:4] == ["–", "–", "–"]


def test_only_runs_of_the_same_recipe_are_alike():
    assert len(alike([run(), run(seed=1)])) == 1
    assert len(alike([run(), run(lr=1e-4)])) == 2
    assert len(alike([run(), run(phase="phase1")])) == 2
