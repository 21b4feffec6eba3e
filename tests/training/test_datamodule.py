"""What the data module refuses; what it serves is tested by its samples, samplers and whole trainings."""

from types import SimpleNamespace

import numpy as np
import pytest
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator

from lensblend.data.embedded import Embedded
from lensblend.data.files import FilePairs, PairFiles
from lensblend.data.images import write_image
from lensblend.data.pairs import Source
from lensblend.errors import RequestError
from lensblend.inference.guided_pairs import GuidedSource
from lensblend.training.datamodule import PairsDataModule


def module(val, rank=0, world_size=1, accelerator=None, **options):
    data = PairsDataModule(Embedded(image_size=[32, 48], train=2, val=val), (32, 48), 2, **options)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, accelerator=accelerator or CPUAccelerator())
    return data


def test_every_process_needs_a_validation_pair():
    for rank in range(3):
        with pytest.raises(RequestError, match=r"3 processes share a validation split of 2.*`trainer.devices` to 2"):
            module(2, rank, 3).val_dataloader()
        (batch,) = module(3, rank, 3).val_dataloader()
        assert len(batch["id"]) == 1
    assert len(module(0, 0, 3).val_dataloader()) == 0  # no validation at all is allowed: `best` is `last`


def test_batches_are_pinned_for_a_gpu_that_trains_and_not_for_one_that_is_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    on_cpu, on_gpu = module(2), module(2, accelerator=CUDAAccelerator())
    assert [loader.pin_memory for loader in (on_cpu.train_dataloader(), on_cpu.val_dataloader())] == [False, False]
    assert [loader.pin_memory for loader in (on_gpu.train_dataloader(), on_gpu.val_dataloader())] == [True, True]


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(RequestError, match=r"`loader\.num_workers` is 0 or more, but got -1"):
        module(2, num_workers=-1)


def test_an_empty_validation_batch_is_refused():
    with pytest.raises(RequestError, match=r"`loader\.val_batch_size` is 1 or more, but got 0"):
        module(2, val_batch_size=0)


def test_validation_has_batches_of_its_own():
    """A recipe that trains on crops by the dozen validates whole photos: as many of those may be too much memory."""
    data = module(3)
    assert [len(batch["id"]) for batch in data.train_dataloader()] == [2]
    assert [len(batch["id"]) for batch in data.val_dataloader()] == [1, 1, 1]
    assert [len(batch["id"]) for batch in module(3, val_batch_size=2).val_dataloader()] == [2, 1]


@pytest.mark.slow
def test_a_training_on_more_processes_than_validation_pairs_is_refused(lensblend, tmp_path):
    done = lensblend(
        "train", "experiment=demo", "debug=smoke", "+backbone.width_divisor=16", "metrics.lpips=null",
        "trainer=ddp_cpu", "loader.limit_val=1", f"run_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert done.code == 2, done.err
    assert "2 processes share a validation split of 1" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("workers", "free", "fits"), [(0, 0, True), (2, 92_159, False), (2, 92_160, True)])
def test_workers_need_shared_memory_for_what_they_hand_over(monkeypatch, workers, free, fits):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    data = module(val=2, num_workers=workers)
    if fits:
        assert len(data.train_dataloader()) == 1
    else:
        with pytest.raises(RequestError, match=r"/dev/shm has 0\.1 MiB free, .*loader\.num_workers=0.*--shm-size"):
            data.train_dataloader()


def test_shared_memory_is_reckoned_for_crops_and_for_whole_photos(monkeypatch):
    """One validation batch of whole photos may need more than a training batch of crops."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=92_159))
    data = module(val=2, num_workers=2, crop=(16, 24), val_batch_size=4)
    assert len(data.train_dataloader()) == 1
    with pytest.raises(RequestError, match="/dev/shm"):
        data.val_dataloader()


class InFiles(Source):
    def __init__(self, folder):
        files = []
        for index, image in enumerate(np.random.default_rng(0).integers(0, 256, (4, 40, 60, 3), dtype=np.uint8)):
            write_image(folder / f"{index}.png", image)
            files.append(PairFiles(str(index), folder / f"{index}.png", folder / f"{index}.png", {}))
        self._files = FilePairs(files)

    def split(self, name):
        return self._files


def test_a_cache_gives_the_same_batches_and_is_for_files_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path / "cache"))
    source = GuidedSource(InFiles(tmp_path), {})
    plain, kept = (PairsDataModule(source, (32, 48), 2, cache=cache) for cache in (False, True))
    assert len(list(tmp_path.glob("cache/packed/*.u8"))) == 1  # both splits are the same pairs
    for loader in ("train_dataloader", "val_dataloader"):
        for one, other in zip(getattr(plain, loader)(), getattr(kept, loader)(), strict=True):
            assert one["id"] == other["id"]
            assert one["photo"].equal(other["photo"])
            assert one["target"].equal(other["target"])
    with pytest.raises(RequestError, match=r"`loader\.cache` keeps pairs that lie in files"):
        module(2, cache=True)
