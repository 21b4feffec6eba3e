"""The line that a phase begins with says what a step costs and where."""

import pytest
import torch

from lensblend.errors import RequestError
from lensblend.training.batches import batch_of_process
from lensblend.training.introduction import batch_words, device_words, introduce
from lensblend.training.phases import Phase

PHASE = Phase([384, 512], batch_size=8, max_epochs=40, lr=1e-3, lr_final=1e-4, loss={"l1": {"weight": 1.0}})


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA H200")


@pytest.fixture
def no_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("pytorch_lightning.accelerators.MPSAccelerator.is_available", lambda: False)


@pytest.mark.parametrize(
    ("trainer", "batch", "device"),
    [
        ({"accelerator": "auto", "devices": 1}, "batch 8", "on a GPU (NVIDIA H200)"),
        ({"accelerator": "gpu", "devices": -1}, "batch 8 × 4 processes = 32", "on 4 GPUs (NVIDIA H200)"),
        ({"accelerator": "gpu", "devices": [0, 2]}, "batch 8 × 2 processes = 16", "on 2 GPUs (NVIDIA H200)"),
        (
            {"accelerator": "gpu", "devices": 4, "num_nodes": 2, "accumulate_grad_batches": 2},
            "batch 8 × 8 processes × 2 accumulated = 128",
            "on 8 GPUs of 2 machines (NVIDIA H200)",
        ),
        ({"accelerator": "cpu", "devices": 2}, "batch 8 × 2 processes = 16", "on the CPU in 2 processes"),
    ],
)
def test_batch_and_device_of_all_processes(gpus, trainer, batch, device):
    assert (batch_words(8, trainer), device_words(trainer)) == (batch, device)


def test_without_gpus_it_is_the_cpu(no_gpus):
    assert device_words({"accelerator": "auto", "devices": "auto"}) == "on the CPU"
    assert device_words({"accelerator": "tpu", "devices": 1}) == "on TPU"


def test_the_line_says_device_precision_and_all_pairs_of_a_step(no_gpus, capsys):
    trainer = {"accelerator": "cpu", "devices": 2, "precision": "bf16-mixed"}
    introduce("phase1", PHASE, torch.nn.Linear(2, 3), [], trainer, "starts from nothing")
    said = capsys.readouterr().out.strip()
    assert said == (
        "phase1: 40 epochs at 384×512 (height×width), batch 8 × 2 processes = 16, l1, learning rate 0.001 → 0.0001; "
        "9 parameters; on the CPU in 2 processes, precision bf16-mixed; starts from nothing"
    )


@pytest.mark.parametrize(
    ("trainer", "each"),
    [
        ({"devices": 2}, 8), ({"devices": 2, "global_batch": True}, 4), ({"devices": 1, "global_batch": True}, 8),
        ({"devices": 4, "num_nodes": 2, "global_batch": True}, 1),
        ({"devices": 2, "accumulate_grad_batches": 2, "global_batch": True}, 2),
    ],
)  # fmt: skip
def test_a_global_batch_is_shared_by_processes_and_accumulation(trainer, each):
    assert batch_of_process(8, {"accelerator": "cpu", **trainer}) == each


def test_a_global_batch_that_cannot_be_shared_is_refused():
    trainer = {"accelerator": "cpu", "devices": 3, "accumulate_grad_batches": 2, "global_batch": True}
    with pytest.raises(
        RequestError, match=r"is 8, of a whole step .* by 3 processes × 2 accumulated; use a multiple of 6"
    ):
        batch_of_process(8, trainer)
