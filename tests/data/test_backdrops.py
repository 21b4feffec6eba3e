from __future__ import annotations

import numpy as np
import pytest

from lensblend.data.backdrops import KINDS, backdrop, ground, shadow


@pytest.mark.parametrize("kind", KINDS)
def test_backdrops_are_light_of_the_asked_size_and_vary(kind: str) -> None:
    first, other = (backdrop(np.random.default_rng(seed), kind, 48, 64) for seed in (0, 1))
    assert first.shape == (48, 64, 3)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert first.std() > 0.005
    assert abs(first - other).mean() > 0.005


@pytest.mark.parametrize("kind", ["garden", "dusk", "night"])
def test_lights_are_brighter_than_a_photo_can_show(kind: str) -> None:
    scene = backdrop(np.random.default_rng(2), kind, 96, 128)
    assert scene.max() > 10
    assert 0 < (scene.max(axis=2) > 5).mean() < 0.02


def test_ground_is_finer_towards_the_horizon() -> None:
    """Detail along a row, relative to the row's contrast, halves in size where the distance doubles."""
    painted = ground(np.random.default_rng(1), 192, 256, 64.0, 0.5)[..., 1]
    rows = {distance: painted[64 + 128 // distance - 12 : 64 + 128 // distance - 4] for distance in (1, 2)}
    detail = {key: abs(np.diff(row, axis=1)).mean() / row.std() for key, row in rows.items()}
    assert detail[2] > 1.2 * detail[1]


def test_ground_does_not_alias_at_the_horizon() -> None:
    painted = ground(np.random.default_rng(1), 96, 128, 30.0, 4.0)[..., 1]
    assert painted[31:33].std() < 0.5 * painted[-20:].std()


def test_shadow_is_darkest_at_the_foot_and_ends() -> None:
    light = shadow(40, 60, row=25.0, column=30.0, reach=8.0)
    assert np.unravel_index(light.argmin(), light.shape) == (25, 30)
    assert light[25, 30] == pytest.approx(0.3)
    assert light[0, 0] == pytest.approx(1, abs=1e-3)
    assert light[25, 38] < light[33, 30]
