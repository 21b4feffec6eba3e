"""Means over the batches of an epoch, by pairs, whatever was kept in between."""

import numpy as np
import pytest
import torch

from lensblend.training.epoch_means import EpochMeans


def test_a_mean_leaves_out_what_is_not_finite_and_goes_on_where_it_was_kept():
    means = EpochMeans()
    for value, count in ((1.0, 2), (float("nan"), 2), (float("inf"), 1), (4.0, 1)):
        means.add({"loss": torch.tensor(value)}, count)
    assert means.means()["loss"] == 2.0
    again = EpochMeans()
    again.restore({**means.state(), "damaged": [1.0], "odd": "x"})
    again.add({"loss": torch.tensor(6.0)}, 1)
    assert again.means()["loss"] == 3.0
    again.begin()
    assert again.means() == {}
    again.add({"loss": torch.tensor(float("nan"))}, 1)
    assert torch.isnan(again.means()["loss"])


def test_each_name_has_its_own_mean_also_where_a_restart_has_further_ones():
    random = np.random.default_rng(0)
    values, counts = random.normal(size=(5, 2)), random.integers(1, 9, 5)
    means = EpochMeans()
    for (first, second), count in zip(values[:3], counts, strict=False):
        means.add({"a": torch.tensor(first), "b": torch.tensor(second)}, int(count))
    going_on = EpochMeans()
    going_on.restore(means.state())
    for (first, second), count in zip(values[3:], counts[3:], strict=True):
        going_on.add({"new": torch.tensor(1.5), "b": torch.tensor(second), "a": torch.tensor(first)}, int(count))
    told = going_on.means()
    assert float(told["a"]) == pytest.approx(np.average(values[:, 0], weights=counts), abs=1e-6)
    assert float(told["b"]) == pytest.approx(np.average(values[:, 1], weights=counts), abs=1e-6)
    assert float(told["new"]) == 1.5
