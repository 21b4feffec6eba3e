import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from lensblend.data.pairs import Pair, Pairs
from lensblend.data.samplers import KeyedSampler
from lensblend.data.samples import Samples
from lensblend.errors import DataError, RequestError


class Noise(Pairs):
    """Pairs whose target, disparity and mask are known functions of the photo."""

    def __init__(self, count=8, extras=True, endless=False):
        self.ids = [f"noise-{i}" for i in range(count)]
        self.extras, self.endless = extras, endless

    def load(self, index, epoch=0):
        seed = (index, epoch if self.endless else 0)
        photo = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        maps = {"disparity": photo[..., 0].astype(np.float32), "mask": photo[..., 1] > 127}
        return Pair(self.ids[index], photo, 255 - photo, maps if self.extras else {})


def loader(samples, workers, epoch=0):
    sampler = KeyedSampler(len(samples), seed=1)
    sampler.set_epoch(epoch)
    return DataLoader(
        samples, batch_size=3, sampler=sampler, num_workers=workers, generator=torch.Generator().manual_seed(0)
    )


def test_sample_is_8_bit_and_channels_first():
    pairs = Noise()
    assert isinstance(pairs, Pairs)
    sample = Samples(pairs)[0, 2]
    photo = pairs.load(2).photo
    assert sample["id"] == "noise-2"
    assert {k: (v.dtype, tuple(v.shape)) for k, v in sample.items() if k != "id"} == {
        "photo": (torch.uint8, (3, 12, 16)),
        "target": (torch.uint8, (3, 12, 16)),
        "disparity": (torch.float32, (1, 12, 16)),
        "mask": (torch.bool, (1, 12, 16)),
    }
    for channel in range(3):
        np.testing.assert_array_equal(sample["photo"][channel], photo[:, :, channel])
    assert set(Samples(Noise(extras=False))[0]) == {"id", "photo", "target"}


class Opened(Noise):
    """Of every second pair the f-number is known."""

    def load(self, index, epoch=0):
        return replace(super().load(index, epoch), f_number=None if index % 2 else 2.8)


@pytest.mark.parametrize("flips", ["none", "random"])
def test_the_f_number_of_a_pair_is_a_float32_of_no_dimensions(flips):
    samples = Samples(Opened(), image_size=[8, 10], flips=flips, crop=[6, 6])
    assert samples[0, 0]["f_number"].dtype == torch.float32
    assert samples[0, 0]["f_number"].shape == ()
    assert samples[0, 0]["f_number"].item() == pytest.approx(2.8)
    assert "f_number" not in samples[0, 1]
    batch = next(iter(DataLoader(Subset(samples, [0, 2, 4]), batch_size=3)))
    assert batch["f_number"].shape == (3,)


def test_resized_to_height_and_width():
    sample = Samples(Noise(), image_size=[6, 10])[0, 0]
    assert sample["photo"].shape == sample["target"].shape == (3, 6, 10)
    assert sample["disparity"].shape == sample["mask"].shape == (1, 6, 10)


@pytest.mark.parametrize("flips", ["random", "expand"])
def test_all_parts_flip_alike(flips):
    samples = Samples(Noise(), flips=flips, seed=3)
    for index in range(len(samples)):
        sample = samples[1, index]
        np.testing.assert_array_equal(sample["target"], 255 - sample["photo"])
        np.testing.assert_array_equal(sample["disparity"][0], sample["photo"][0])
        np.testing.assert_array_equal(sample["mask"][0], sample["photo"][1] > 127)


def test_expand_triples_the_set_in_blocks():
    pairs = Noise(4)
    samples = Samples(pairs, flips="expand")
    assert len(samples) == 12
    for index in range(12):
        photo = pairs.load(index % 4).photo
        expected = [photo, cv2.flip(photo, 1), cv2.flip(photo, 0)][index // 4]
        np.testing.assert_array_equal(samples[0, index]["photo"], expected.transpose(2, 0, 1))
        assert samples[0, index]["id"] == f"noise-{index % 4}"


def test_limit_takes_the_first_pairs():
    assert len(Samples(Noise(8), limit=3)) == 3
    assert len(Samples(Noise(8), limit=100)) == 8
    assert len(Samples(Noise(8), limit=3, flips="expand")) == 9
    with pytest.raises(RequestError, match="`limit`"):
        Samples(Noise(), limit=0)
    with pytest.raises(IndexError, match=r"\[0, 3\)"):
        Samples(Noise(8), limit=3)[0, 3]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # a machine with fewer cores
def test_workers_change_nothing_and_epochs_do():
    samples = Samples(Noise(16), image_size=(6, 8), flips="random", seed=2)
    epochs = [[list(loader(samples, workers, epoch)) for workers in (0, 4)] for epoch in (0, 1)]
    for alone, shared in epochs:
        assert len(alone) == len(shared) == 6
        for one, other in zip(alone, shared, strict=True):
            assert one["id"] == other["id"]
            assert all(torch.equal(one[k], other[k]) for k in ("photo", "target", "disparity", "mask"))
    by_id = [{i: p for batch in epoch[0] for i, p in zip(batch["id"], batch["photo"], strict=True)} for epoch in epochs]
    changed = [not torch.equal(by_id[0][i], by_id[1][i]) for i in by_id[0]]
    assert 4 <= sum(changed) <= 16  # three of four pairs flip otherwise in the next epoch


def test_samples_can_be_sent_to_a_spawned_worker():
    samples = Samples(Noise(), flips="random", seed=2)
    sent = pickle.loads(pickle.dumps(samples))
    assert all(torch.equal(samples[3, i]["photo"], sent[3, i]["photo"]) for i in range(8))


def test_endless_pairs_get_the_epoch():
    samples = Samples(Noise(endless=True))
    assert not torch.equal(samples[0, 1]["photo"], samples[1, 1]["photo"])
    assert torch.equal(samples[0, 1]["photo"], samples[1]["photo"])  # a bare index is epoch 0


def test_misfit_is_refused_by_name():
    class Misfit(Noise):
        def load(self, index, epoch=0):
            return Pair("odd", np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4, 3), np.uint8))

    with pytest.raises(DataError, match=r"`odd` have shapes \(4, 6, 3\) and \(6, 4, 3\)"):
        Samples(Misfit(), image_size=(4, 4))[0]


def test_image_size_is_refused_at_once():
    with pytest.raises(
        RequestError, match=r"`image_size` is \(height, width\), both positive, but got \[384, 512, 3\]\."
    ):
        Samples(Noise(), image_size=[384, 512, 3])


class Numbered(Pairs):
    """Pairs in which every pixel of the photo says where it is."""

    ids = ("numbered",)

    def load(self, index, epoch=0):
        rows, columns = np.mgrid[:24, :32].astype(np.uint8)
        photo = np.stack([rows, columns, rows], axis=2)
        plane = rows.astype(np.float32) * 100 + columns
        maps = {"disparity": plane, "mask": columns > 15, "saliency": plane, "focus": plane, "normals": plane + 1}
        return Pair("numbered", photo, photo, maps)


@pytest.mark.parametrize("flips", ["none", "random"])
def test_a_crop_cuts_everything_alike_and_knows_its_place(flips):
    samples = Samples(Numbered(), crop=[8, 10], flips=flips, coordinates=True)
    places = set()
    for epoch in range(40):
        sample = samples[epoch, 0]
        rows, columns = sample["photo"][:2].int()
        top, left = int(rows[0, 0]), int(columns[0, 0])
        places.add((top, left))
        assert sample["photo"].shape == (3, 8, 10)
        assert torch.equal(sample["target"], sample["photo"])
        for name in ("disparity", "saliency", "focus"):
            assert torch.equal(sample[name][0], (rows * 100 + columns).float())
        assert torch.equal(sample["normals"][0], (rows * 100 + columns).float() + 1)
        assert torch.equal(sample["mask"][0], columns > 15)
        vertical, horizontal = sample["coordinates"]
        assert torch.allclose(vertical, rows / 23 * 2 - 1, atol=1e-6)
        assert torch.allclose(horizontal, columns / 31 * 2 - 1, atol=1e-6)
        assert set(sample) == {"id", "photo", "target", *Numbered().load(0).maps, "coordinates"}
    # 40 draws of 17 x 23 places; each of the two sides is drawn by itself.
    assert len(places) > 30
    assert len({top for top, _ in places}) > 10
    assert len({left for _, left in places}) > 10


@pytest.mark.parametrize("flips", ["none", "random", "expand"])
@pytest.mark.parametrize("crop", [None, [8, 10]])
@pytest.mark.parametrize("image_size", [None, [12, 16]])
def test_whatever_is_attached_to_a_pixel_goes_where_it_goes(flips, crop, image_size):
    """Every part of a sample tells the same place of a pixel: an own map, and the coordinates of the whole photo."""

    class Placed(Numbered):
        def load(self, index, epoch=0):
            pair = super().load(index, epoch)
            rows, columns = (2 * np.mgrid[:24, :32] / np.array([23, 31]).reshape(2, 1, 1) - 1).astype(np.float32)
            return Pair(pair.id, pair.photo, pair.target, {"row": rows, "column": columns})

    samples = Samples(Placed(), image_size, flips, 1, None, crop, coordinates=True)
    for epoch in range(4):
        for index in range(len(samples)):
            sample = samples[epoch, index]
            for name, place in zip(("row", "column"), sample["coordinates"], strict=True):
                # At half the size, a map is averaged: its border lies within.
                assert torch.allclose(sample[name][0], place, atol=1e-6 if image_size is None else 0.08)
                assert torch.equal(sample[name][0].diff().sign(), place.diff().sign())


def test_crops_depend_on_seed_epoch_and_index_alone():
    def drawn(seed, epoch):
        return Samples(Numbered(), crop=[8, 10], seed=seed)[epoch, 0]["photo"]

    assert torch.equal(drawn(0, 3), drawn(0, 3))
    assert not torch.equal(drawn(0, 3), drawn(0, 4))
    assert not torch.equal(drawn(0, 3), drawn(1, 3))


def test_a_crop_of_the_whole_is_the_whole():
    whole, cropped = Samples(Numbered())[0, 0], Samples(Numbered(), crop=[24, 32], coordinates=True)[0, 0]
    assert torch.equal(whole["photo"], cropped["photo"])
    assert "coordinates" not in whole
    assert cropped["coordinates"][:, 0, 0].tolist() == [-1, -1]
    assert cropped["coordinates"][:, -1, -1].tolist() == [1, 1]


@pytest.mark.parametrize("crop", [[8], [8, 0], [25, 10], [8, 33]])
def test_impossible_crops_are_refused(crop):
    with pytest.raises(RequestError, match="`crop`"):
        Samples(Numbered(), crop=crop)[0, 0]
