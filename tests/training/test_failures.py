"""Messages for what PyTorch raises; the harness in tests/reliability provokes each for real."""

import pytest
import torch

from lensblend.errors import DataError, StorageError, TrainingError
from lensblend.training.failures import explain_failure
from lensblend.training.phases import Phase

PHASE = Phase([384, 512], batch_size=8, max_epochs=1, lr=1e-3, lr_final=1e-4, loss={"l1": {}})


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
def test_no_memory_gives_overrides_to_copy(error):
    told = explain_failure(error, "phase1", PHASE)
    assert isinstance(told, TrainingError)
    assert "phase1 ran out of memory at batch 8 and 384×512" in str(told)
    for advice in ("schedule.phases.phase1.batch_size=4 +trainer.accumulate_grad_batches=2", "image_size=[192,256]"):
        assert advice in str(told)


def test_a_dead_worker_names_its_process():
    error = RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")
    told = explain_failure(error, "phase1", PHASE)
    assert isinstance(told, TrainingError)
    assert "data worker 4711 died (is killed by signal: Killed)" in str(told)


def test_a_dead_worker_is_found_behind_the_error_that_hid_it():
    # As `inspect.getfullargspec` does with whatever is raised while it runs.
    try:
        try:
            raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")
        except Exception as error:
            raise TypeError("unsupported callable") from error
    except TypeError as error:
        hidden = error
    told = explain_failure(hidden, "phase1", PHASE)
    assert isinstance(told, TrainingError)
    assert "data worker 4711 died" in str(told)


def test_a_bug_in_an_error_handler_is_no_disk_failure():
    try:
        try:
            raise FileNotFoundError(2, "No such file", "optional.json")
        except FileNotFoundError:
            _ = 1 // 0
    except ZeroDivisionError as error:
        bug = error
    assert explain_failure(bug, "phase1", PHASE) is bug


def test_a_file_that_cannot_be_read_is_named():
    told = explain_failure(PermissionError(13, "Permission denied", "photo.jpg"), "phase1", PHASE)
    assert isinstance(told, StorageError)
    assert "Permission denied: photo.jpg" in str(told)


@pytest.mark.parametrize("error", [DataError("its own words"), ZeroDivisionError("a bug")])
def test_what_speaks_for_itself_or_is_a_bug_stays_as_it_is(error):
    assert explain_failure(error, "phase1", PHASE) is error
