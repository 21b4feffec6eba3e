from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lensblend.data import cutouts, foliage
from lensblend.data.cutouts import Cutout
from lensblend.data.lens import linearise
from lensblend.data.textures import photo

DRAWN = [cutouts.ball, cutouts.figure, foliage.plant, foliage.tree, foliage.spray]


@pytest.mark.parametrize("maker", DRAWN)
def test_drawn_things_have_soft_edges_and_premultiplied_light(maker: Callable[[np.random.Generator], Cutout]) -> None:
    colour, alpha = maker(np.random.default_rng(4))
    assert colour.shape == (*alpha.shape, 3)
    assert 0.1 < alpha.mean() < 0.9
    assert alpha.min() == 0
    assert alpha.max() == pytest.approx(1)
    assert ((alpha > 0.1) & (alpha < 0.9)).any()
    assert colour.min() >= 0
    assert not colour[alpha == 0].any()
    assert colour[alpha == 1].std() > 0.02


@pytest.mark.parametrize("maker", DRAWN)
def test_drawn_things_follow_the_generator(maker: Callable[[np.random.Generator], Cutout]) -> None:
    first, again, other = (maker(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.colour, again.colour)
    assert abs(first.colour - other.colour).max() > 0.05


def test_ball_covers_a_disc() -> None:
    assert cutouts.ball(np.random.default_rng(0)).alpha.mean() == pytest.approx(np.pi / 4, rel=0.02)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("astronaut.png", [(80, 225), (400, 120), (450, 400)], [(60, 60), (100, 420), (200, 380)]),  # face, arm, helmet
        ("chelsea.png", [(115, 170), (240, 260), (20, 370)], [(40, 420), (250, 400), (60, 10)]),  # eye, nose, ear
        ("coffee.png", [(140, 280), (300, 200), (280, 365)], [(30, 550), (380, 20), (20, 60)]),  # coffee, saucer, spoon
    ],
)
def test_photographed_things_are_cut_out(
    name: str, inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    colour, alpha = cutouts.from_photo(name)
    assert alpha.shape == photo(name).shape[:2]
    for place in inside:
        assert alpha[place] == 1
        np.testing.assert_array_equal(colour[place], linearise(photo(name))[place])
    for place in outside:
        assert alpha[place] == 0
        assert not colour[place].any()


def test_photographed_things_end_sharply_only_at_the_frame() -> None:
    alpha = cutouts.from_photo("astronaut.png").alpha
    assert alpha[-1, 200] > 0.999
    assert abs(np.diff(alpha, axis=0)).max() < 0.5
