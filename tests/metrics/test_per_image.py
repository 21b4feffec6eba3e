from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lensblend.errors import RequestError
from lensblend.metrics import per_image
from lensblend.metrics.per_image import PerImageMetric, to_levels


class Brightness(PerImageMetric):
    """The mean level of a rendering: a value that a test can know."""

    name, heading, convention, decimals = "brightness", "Brightness", "mean level, 0 to 255", 1
    higher_is_better = True

    def score(self, bokeh: Tensor, target: Tensor) -> Tensor:
        self.seen = bokeh, target, torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
        return bokeh.mean(dim=(1, 2, 3))


def grey(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone()


class Darkness(Brightness):
    """The same, where the smaller value is the better one."""

    name, heading, higher_is_better = "darkness", "Darkness", False


def test_a_metric_says_how_it_is_written_and_which_of_two_values_is_better() -> None:
    assert [metric.title() for metric in (Brightness, Darkness)] == ["Brightness ↑", "Darkness ↓"]
    assert (Brightness.written(20.06), Brightness.written(0.25, signed=True)) == ("20.1", "+0.2")
    assert [metric.beats(2.0, 1.0) for metric in (Brightness, Darkness)] == [True, False]
    assert [metric.beats(1.0, 2.0) for metric in (Brightness, Darkness)] == [False, True]
    assert not any(metric.beats(1.0, 1.0) or metric.beats(float("nan"), 1.0) for metric in (Brightness, Darkness))


@pytest.mark.parametrize("fact", ["name", "heading", "convention", "decimals", "higher_is_better"])
def test_a_metric_that_leaves_out_what_it_is_to_say_is_refused_where_it_is_defined(fact: str) -> None:
    facts = {"name": "x", "heading": "X", "convention": "of x", "decimals": 2, "higher_is_better": False}
    body = {**{key: value for key, value in facts.items() if key != fact}, "score": Brightness.score}
    with pytest.raises(RequestError, match=f"The metric Unsaid does not say its `{fact}`; a metric has the class"):
        type("Unsaid", (PerImageMetric,), body)
    type("Said", (PerImageMetric,), {**body, fact: facts[fact]})


def test_what_several_metrics_share_need_not_say_it() -> None:
    shared = type("Shared", (PerImageMetric,), {"compares": "mask"})
    with pytest.raises(RequestError, match="Own does not say its `name`, `heading`"):
        type("Own", (shared,), {"score": Brightness.score})


def test_levels_are_numpys_rounding_of_the_clipped_range() -> None:
    values = np.linspace(-0.2, 1.2, 4 * 5 * 3, dtype=np.float32).reshape(1, 3, 4, 5)
    expected = np.round(np.clip(values, 0, 1) * np.float32(255))
    np.testing.assert_array_equal(to_levels(torch.from_numpy(values)), expected)


def test_every_level_survives() -> None:
    every = torch.arange(256).view(1, 1, 16, 16)
    torch.testing.assert_close(to_levels(every / 255), every.float(), rtol=0, atol=0)


def test_scores_get_levels_without_autocast_and_gradient() -> None:
    metric = Brightness()
    bokeh = grey(0.5).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = metric.per_image(bokeh, grey(1.0))
    seen_bokeh, seen_target, autocast, gradient = metric.seen
    assert (seen_bokeh.unique().tolist(), seen_target.unique().tolist()) == ([128], [255])
    assert not autocast
    assert not gradient
    assert not values.requires_grad


def test_a_mean_over_many_images_keeps_its_digits() -> None:
    """A float32 sum of 20,000 values near 25 is off by far more."""
    metric = Brightness()
    assert metric.total.dtype == torch.float64  # from the start: a process without images sends its sum too
    bokeh = grey(*[25 / 255] * 300 + [26 / 255] * 700)
    for _ in range(20):
        metric.update(bokeh, torch.zeros_like(bokeh))
    assert metric.count == 20_000
    assert metric.compute().item() == pytest.approx(25.7, abs=1e-12)


def test_forward_returns_the_batch_and_adds_to_the_mean() -> None:
    metric = Brightness()
    assert metric(grey(0.0), grey(0.0)).item() == 0
    assert metric(grey(1.0, 1.0), grey(0.0, 0.0)).item() == 255
    assert metric.compute().item() == pytest.approx(170)


def test_no_images_are_an_error_rather_than_a_number() -> None:
    with pytest.warns(UserWarning, match="before"), pytest.raises(RequestError, match=r"`brightness` .* got none"):
        Brightness().compute()


@pytest.mark.parametrize(
    ("bokeh", "target", "message"),
    [
        (grey(0.0), grey(0.0, 0.0), r"\(1, 3, 4, 4\) and \(2, 3, 4, 4\); render at"),
        (grey(0.0)[..., :3], grey(0.0), r"\(1, 3, 4, 3\) and"),
        (grey(0.0)[0], grey(0.0)[0], r"\(b, 3, h, w\), but got \(3, 4, 4\)"),
        (grey(0.0)[:, :1], grey(0.0)[:, :1], r"\(b, 3, h, w\), but got \(1, 1, 4, 4\)"),
        (grey(0.0).byte(), grey(0.0), "torch.uint8 and torch.float32; divide by 255"),
        (grey(0.0), grey(200.0), r"Targets are in \[0, 1\], but got values from 200 to 200"),
        (grey(0.0), grey(-0.9), "from -0.9"),
    ],
)
def test_photos_that_would_give_a_wrong_number_are_refused(bokeh: Tensor, target: Tensor, message: str) -> None:
    # The undecorated method is what a training runs: the test run checks shapes on top.
    score = Brightness.per_image
    while hasattr(score, "__wrapped__"):
        score = score.__wrapped__
    with pytest.raises(RequestError, match=message):
        score(Brightness(), bokeh, target)


def test_an_overshoot_of_resampling_is_clipped() -> None:
    assert Brightness().per_image(grey(1.1), grey(1.1)).item() == 255


@pytest.mark.parametrize("value", [200.0, -0.9, 1.1])
def test_values_out_of_reach_are_refused_with_the_mean_if_not_before(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(per_image, "_at_hand", lambda tensor: False)
    metric = Brightness()
    for level in (0.5, value, 0.2):
        metric.update(grey(0.5), grey(level))
    if value == 1.1:
        assert metric.compute() == 128
        return
    low, high = min(0.2, value), max(0.5, value)
    with pytest.raises(RequestError, match=rf"in \[0, 1\], but got values from {low:g} to {high:g}; bring"):
        metric.compute()
    metric.reset()
    metric.update(grey(0.5), grey(0.5))
    assert metric.compute() == 128


def test_what_one_process_saw_is_refused_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_image, "_at_hand", lambda tensor: False)
    ours, theirs = Brightness(), Brightness()
    ours.update(grey(0.5), grey(0.5))
    theirs.update(grey(0.5), grey(255.0))
    ours.merge_state(theirs)
    with pytest.raises(RequestError, match=r"from 0\.5 to 255"):
        ours.compute()
