"""Each process of a training prepares maps on its own GPU."""

import pytest
import torch

from lensblend.errors import RequestError
from lensblend.training.devices import device_of_process, gpus_of_training


@pytest.fixture
def four(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("lightning_fabric.accelerators.cuda.num_cuda_devices", lambda: 4)


@pytest.mark.parametrize(
    ("trainer", "local", "device"),
    [
        ({"accelerator": "gpu", "devices": -1}, "LOCAL_RANK=2", "cuda:2"),
        ({"accelerator": "gpu", "devices": 4}, "SLURM_LOCALID=3", "cuda:3"),
        ({"accelerator": "auto", "devices": "auto"}, "LOCAL_RANK=1", "cuda:1"),
        ({"accelerator": "gpu", "devices": [3]}, "LOCAL_RANK=0", "cuda:3"),
        ({"accelerator": "gpu", "devices": "1,3"}, "LOCAL_RANK=1", "cuda:3"),
        ({}, "UNSET=", "cuda:0"),
        ({"accelerator": "cpu", "devices": 2}, "LOCAL_RANK=1", "cpu"),
    ],
)
def test_a_process_has_the_gpu_of_its_place(four, monkeypatch, trainer, local, device):
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(*local.split("="))
    assert device_of_process(trainer) == torch.device(device)


@pytest.mark.parametrize(
    ("trainer", "gpus"),
    [({"accelerator": "gpu", "devices": "1,3"}, [1, 3]), ({"devices": 2}, [0, 1]), ({"accelerator": "cpu"}, [])],
)
def test_a_training_uses_the_gpus_that_its_trainer_names(four, trainer, gpus):
    assert gpus_of_training(trainer) == gpus


def test_gpus_that_are_not_there_are_refused(four):
    with pytest.raises(RequestError, match=r"`trainer\.devices` was refused by Lightning: .*\[7\]"):
        device_of_process({"accelerator": "gpu", "devices": [7]})


def test_without_gpus_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_of_process({"accelerator": "auto", "devices": "auto"}) == torch.device("cpu")
