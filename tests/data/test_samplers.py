import itertools
from collections import Counter

import pytest

from lensblend.data.samplers import KeyedSampler
from lensblend.errors import RequestError


def ranks(length, world_size, epoch=0, **options):
    samplers = [KeyedSampler(length, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    keys = [list(sampler) for sampler in samplers]
    assert [len(k) for k in keys] == [len(sampler) for sampler in samplers]
    return keys


@pytest.mark.parametrize("length", [7, 8, 294])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_validation_sees_everything_once(length, world_size):
    keys = ranks(length, world_size, shuffle=False, pad=False)
    assert sorted(itertools.chain(*keys)) == [(0, index) for index in range(length)]
    assert {len(k) for k in keys} <= {length // world_size, -(-length // world_size)}


@pytest.mark.parametrize("length", [1, 2, 7, 8, 294])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_training_ranks_are_equally_long_and_wrap(length, world_size):
    keys = ranks(length, world_size, seed=1)
    assert {len(k) for k in keys} == {-(-length // world_size)}
    counts = Counter(itertools.chain(*keys))
    assert set(counts) == {(0, index) for index in range(length)}
    assert max(counts.values()) <= (2 if length >= world_size else world_size)


def test_one_order_is_shared_by_all_worlds():
    whole = ranks(12, 1, seed=4, epoch=2)[0]
    for world_size in (2, 3, 4):
        dealt = zip(*ranks(12, world_size, seed=4, epoch=2), strict=True)
        assert list(itertools.chain(*dealt)) == whole


def test_order_depends_on_seed_and_epoch_never_on_iterations():
    sampler = KeyedSampler(50, seed=7)
    sampler.set_epoch(3)
    first, again = list(sampler), list(sampler)
    assert first == again
    resumed = KeyedSampler(50, seed=7)
    for _ in range(5):
        iter(resumed)  # Lightning asks for iterators before it sets the epoch
    resumed.set_epoch(3)
    assert list(resumed) == first
    orders = set()
    for seed, epoch in itertools.product(range(3), range(5)):
        sampler = KeyedSampler(50, seed=seed)
        sampler.set_epoch(epoch)
        assert {key[0] for key in sampler} == {epoch}
        orders.add(tuple(index for _, index in sampler))
    assert len(orders) == 15


def test_an_epoch_set_during_iteration_does_not_change_it():
    sampler = KeyedSampler(10, seed=0)
    expected = list(sampler)
    iterator = iter(sampler)
    begun = [next(iterator)]
    sampler.set_epoch(1)
    assert begun + list(iterator) == expected


def test_shuffle_is_even():
    positions = Counter()
    for epoch in range(600):
        sampler = KeyedSampler(6, seed=0)
        sampler.set_epoch(epoch)
        positions[next(iter(sampler))[1]] += 1
    # 100 each expected; four standard deviations of a binomial(600, 1/6) are 37
    assert all(63 <= positions[index] <= 137 for index in range(6)), positions


def test_empty_set_and_wrong_ranks():
    assert list(KeyedSampler(0)) == list(KeyedSampler(0, shuffle=False, pad=False)) == []
    for rank, world_size in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(RequestError, match="world_size"):
            KeyedSampler(5, rank=rank, world_size=world_size)
    with pytest.raises(RequestError, match="`length`"):
        KeyedSampler(-1)
