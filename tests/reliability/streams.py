"""R11: which samples a training sees, drawn by the data module that trainings use, from a folder of real files."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lensblend.data.catalogue import Folders
from lensblend.data.samplers import KeyedSampler
from lensblend.training.datamodule import PairsDataModule
from reliability.rows import Bench, Case, expect

PAIRS, SIZE, BATCH, SEED = 23, (32, 48), 4, 5
Sample = tuple[str, bytes, bytes]


def folder_of_pairs(folder: Path, train: int, val: int, size: tuple[int, int] = SIZE) -> dict[str, str]:
    """Write pairs of noise whose target is the photo's negative, and return the arguments of a `Folders` of them."""
    arguments = {}
    for prefix, first, count in (("", 0, train), ("val_", 10_000, val)):
        for name in ("photos", "targets"):
            (folder / f"{prefix}{name}").mkdir(parents=True, exist_ok=True)
            arguments[f"{prefix}{name}"] = str(folder / f"{prefix}{name}")
        for index in range(first, first + count):
            photo = noise(index, size)
            Image.fromarray(photo).save(folder / f"{prefix}photos" / f"{index}.png")
            Image.fromarray(255 - photo).save(folder / f"{prefix}targets" / f"{index}.png")
    return arguments


def noise(index: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Return the photo of that number."""
    return np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)


def augmentation(bench: Bench) -> Iterator[Case]:
    """R11: epochs, workers, pairs, resumes, seeds and ranks; the quick form leaves out all but four."""
    source = Folders(**folder_of_pairs(bench.fresh("r11"), PAIRS, PAIRS))
    checks: list[tuple[str, Callable[[Folders], list[str]]]] = [
        ("an epoch drawn twice is the same", _repeated),
        ("two epochs differ in order and in flips", _epochs_differ),
        ("photo and target flip alike, as NumPy flips the file", _pair_identity),
        ("0 and 1 workers give the same", partial(_workers, 1)),
        ("0 and 2 workers give the same", partial(_workers, 2)),
        ("0 and 4 workers give the same", partial(_workers, 4)),
        ("the workers' streams are not one stream", _streams_differ),
        ("flips go on with an epoch after a stop, without workers", partial(_resumed, 0)),
        ("flips go on with an epoch after a stop, with 2 workers", partial(_resumed, 2)),
        ("another seed is another stream", _seeds_differ),
        ("each of the four flips is as frequent as chance has it", _frequencies),
        ("`expand` gives each pair as it is, mirrored and upside down", _expanded),
        ("an epoch has each pair once", _once),
        ("2 processes share an epoch", partial(_ranks, 2)),
        ("3 processes share an epoch", partial(_ranks, 3)),
    ]
    chosen = checks if bench.full else [checks[i] for i in (1, 2, 4, 8)]
    with warnings.catch_warnings():
        # On machines with fewer cores.
        warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
        for name, check in chosen:
            yield Case(name, check(source))


def stream(
    source: Folders,
    epochs: int = 1,
    workers: int = 0,
    start: tuple[int, int, int] = (0, 0, 0),
    seed: int = SEED,
    flips: str = "random",
) -> list[Sample]:
    """Return id, photo and target of every sample that a training gets, from the epoch that it starts with."""
    data = PairsDataModule(source, SIZE, BATCH, flips=flips, seed=seed, num_workers=workers, start=start)
    loader = data.train_dataloader()
    sampler: Any = loader.sampler
    seen: list[Sample] = []
    for epoch in range(start[0], epochs):
        sampler.set_epoch(epoch)
        for batch in loader:
            parts: list[Any] = [batch["photo"], batch["target"]]
            seen += zip(batch["id"], *([image.numpy().tobytes() for image in part] for part in parts), strict=True)
    return seen


def flip_of(sample: Sample) -> str:
    """Say how a sample's photo was flipped, by comparing it with NumPy's flips of what was written."""
    photo = noise(int(sample[0]))
    ways = {"none": photo, "horizontal": photo[:, ::-1], "vertical": photo[::-1], "both": photo[::-1, ::-1]}
    found = [name for name, way in ways.items() if way.transpose(2, 0, 1).tobytes() == sample[1]]
    return found[0] if found else "not a flip"


def _repeated(source: Folders) -> list[str]:
    first, again = stream(source, 2), stream(source, 2)
    return expect((first == again, "the second time differs"))


def _epochs_differ(source: Folders) -> list[str]:
    both = stream(source, 2)
    first, second = both[:PAIRS], both[PAIRS:]
    before, after = ({sample[0]: flip_of(sample) for sample in epoch} for epoch in (first, second))
    changed = sum(before[name] != after[name] for name in before)
    return expect(
        ([s[0] for s in first] != [s[0] for s in second], "the order is the same"),
        # Three of four flip otherwise: 17 of 23 on average; fewer than 8 come once in 100,000 draws.
        (changed >= 8, f"only {changed} of {PAIRS} pairs are flipped otherwise"),
    )


def _pair_identity(source: Folders) -> list[str]:
    samples = stream(source, 4)
    wrong = [s[0] for s in samples if flip_of(s) == "not a flip"]
    apart = [s[0] for s in samples if bytes(255 - np.frombuffer(s[1], np.uint8)) != s[2]]
    return expect((not wrong, f"photos that are no flip of their file: {wrong}"), (not apart, f"apart: {apart}"))


def _workers(count: int, source: Folders) -> list[str]:
    alone, shared = stream(source, 2), stream(source, 2, workers=count)
    different = sum(a != b for a, b in zip(alone, shared, strict=True))
    return expect((not different, f"{different} of {len(alone)} samples differ"))


def _streams_differ(source: Folders) -> list[str]:
    # Worker w reads batches w, w + 4, …: with one stream for all, they would flip the same way at the same place.
    samples = stream(source, 4, workers=4)
    flips = [flip_of(s) for s in samples]
    epochs = [flips[i : i + PAIRS] for i in range(0, len(flips), PAIRS)]
    first = [tuple(epoch[w * BATCH : (w + 1) * BATCH] for w in range(4)) for epoch in epochs]
    equal = sum(len({tuple(f) for f in workers}) == 1 for workers in first)
    return expect(
        (equal == 0, f"all workers flip alike in {equal} of {len(epochs)} epochs"),
        (len({tuple(epoch) for epoch in epochs}) == len(epochs), "epochs repeat each other"),
    )


def _resumed(workers: int, source: Folders) -> list[str]:
    whole = stream(source, 3)
    of = math.ceil(PAIRS / BATCH)
    failures = []
    for epoch, done in ((0, 1), (1, 3), (1, of), (2, 5)):
        rest = stream(source, 3, workers=workers, start=(epoch, done, of))
        expected = whole[epoch * PAIRS + min(done * BATCH, PAIRS) :]
        failures += expect((rest == expected, f"after {done} batches of epoch {epoch} the rest differs"))
    return failures


def _seeds_differ(source: Folders) -> list[str]:
    streams = [tuple(stream(source, seed=seed)) for seed in range(5)]
    orders = {tuple(s[0] for s in one) for one in streams}
    flips = {tuple(sorted((s[0], flip_of(s)) for s in one)) for one in streams}
    return expect(
        (len(orders) == 5, f"{len(orders)} orders of 5 seeds"), (len(flips) == 5, f"{len(flips)} flips of 5 seeds")
    )


def _frequencies(source: Folders) -> list[str]:
    epochs = 40
    counts = Counter(flip_of(sample) for sample in stream(source, epochs))
    drawn = epochs * PAIRS
    # Four standard deviations of a binomial distribution with p = 1/4.
    bound = 4 * math.sqrt(drawn * 0.25 * 0.75)
    far = {name: n for name, n in counts.items() if abs(n - drawn / 4) > bound}
    return expect((len(counts) == 4, f"flips: {dict(counts)}"), (not far, f"{far} of {drawn}, not {drawn / 4:.0f}"))


def _expanded(source: Folders) -> list[str]:
    failures = []
    for epoch in range(2):
        seen = Counter((s[0], flip_of(s)) for s in stream(source, 2, flips="expand")[epoch * 3 * PAIRS :][: 3 * PAIRS])
        expected = {(str(i), way) for i in range(PAIRS) for way in ("none", "horizontal", "vertical")}
        failures += expect((set(seen) == expected and set(seen.values()) == {1}, f"epoch {epoch}: {len(seen)} copies"))
    return failures


def _once(source: Folders) -> list[str]:
    samples = stream(source, 3)
    epochs = [Counter(s[0] for s in samples[i : i + PAIRS]) for i in range(0, len(samples), PAIRS)]
    everything = Counter(str(i) for i in range(PAIRS))
    return [f"epoch {number}: {len(epoch)} of {PAIRS}" for number, epoch in enumerate(epochs) if epoch != everything]


def _ranks(world: int, source: Folders) -> list[str]:
    """Training: equally long, complete, at most padded from the start; validation: complete and disjoint."""
    train, val = (
        [list(_keys(world, rank, shuffle=True, pad=True)) for rank in range(world)],
        [list(_keys(world, rank, shuffle=False, pad=False)) for rank in range(world)],
    )
    dealt = [key for keys in train for key in keys]
    seen = [key for keys in val for key in keys]
    one = [index for _, index in _keys(1, 0, shuffle=True, pad=True)]
    woven = [train[i % world][i // world][1] for i in range(PAIRS)]
    return expect(
        (len({len(keys) for keys in train}) == 1, "the ranks have different numbers of samples"),
        (len(dealt) - PAIRS == -PAIRS % world, f"{len(dealt)} samples of {PAIRS} pairs"),
        (woven == one, "together they are not one process's epoch"),
        (sorted(index for _, index in seen) == list(range(PAIRS)), "validation is not each pair once"),
        (len(source.split("val").ids) == PAIRS, "the folder has another number of pairs"),
    )


def _keys(world: int, rank: int, shuffle: bool, pad: bool) -> KeyedSampler:
    sampler = KeyedSampler(PAIRS, seed=SEED, shuffle=shuffle, rank=rank, world_size=world, pad=pad)
    sampler.set_epoch(1)
    return sampler
