"""What a training does faster in other roundings: chosen, said, and refused where it cannot be."""

import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.training.introduction import introduce
from lensblend.training.lightning import OWN, trainer_arguments
from lensblend.training.phases import Phase
from lensblend.training.speed import check_speed, optimizer_node, tf32_as_chosen


def switches():
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


@pytest.mark.parametrize(("chosen", "inside"), [(True, "tf32"), (False, "ieee"), (None, None)])
def test_tf32_is_as_chosen_and_put_back(chosen, inside):
    before = switches()
    with tf32_as_chosen({"tf32": chosen}):
        assert switches() == ((inside, inside) if inside else before)
    assert switches() == before


@pytest.mark.parametrize("key", OWN)
def test_own_keys_are_not_passed_on_and_are_true_or_false(key):
    assert trainer_arguments({"devices": 1, key: True}) == {"devices": 1}
    with pytest.raises(RequestError, match=f"`trainer.{key}` is true, false or null, but got 'fast'"):
        trainer_arguments({key: "fast"})


def test_a_misspelt_own_key_is_told_the_right_one():
    with pytest.raises(RequestError, match="did you mean `fused_optimizer`"):
        trainer_arguments({"fused_optimiser": True})


REFUSED = {
    "tf32 on the CPU": ({"accelerator": "cpu", "tf32": False}, "`trainer.tf32=false` would have no effect on the CPU"),
    "clipped before unscaled": (
        {"fused_optimizer": True, "precision": "16-mixed", "gradient_clip_val": 1.0},
        "trainer.fused_optimizer=false",
    ),
    "bfloat16 on Turing": ({"accelerator": "gpu", "precision": "bf16-mixed"}, "use trainer.precision=16-mixed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_faster_is_refused_with_what_can(monkeypatch, name):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (7, 5))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Quadro RTX 6000")
    node, said = REFUSED[name]
    with pytest.raises(RequestError, match=said):
        check_speed(node, steps_by_itself=False)


@pytest.mark.parametrize(
    "node",
    [
        {"accelerator": "gpu", "precision": "bf16-mixed"},
        {"accelerator": "auto", "tf32": True},
        {"accelerator": "cpu", "precision": "bf16-mixed", "tf32": None},
        {"fused_optimizer": True, "precision": "bf16-mixed", "gradient_clip_val": 1.0},
    ],
)
def test_the_rest_is_taken(monkeypatch, node):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (9, 0))
    check_speed(node, steps_by_itself=False)


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"precision": "32-true", "tf32": None}, "precision 32-true with TF32 in convolutions; "),
        ({"tf32": True}, "precision 32-true with TF32; "),
        ({"precision": "32-true", "tf32": False}, "precision 32-true without TF32; "),
        ({"precision": "bf16-mixed", "tf32": False}, "precision bf16-mixed; "),
    ],
)
def test_a_phase_on_a_gpu_says_where_single_precision_is_tf32(monkeypatch, capsys, trainer, said):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA H200")
    phase = Phase([384, 512], batch_size=8, max_epochs=40, lr=1e-3, lr_final=1e-4, loss={})
    introduce("phase1", phase, torch.nn.Linear(2, 3), [], {"accelerator": "gpu", "devices": 1, **trainer}, "")
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad"])
def test_a_fused_optimizer_takes_the_same_steps_to_rounding(name):
    node = {"_target_": f"torch.optim.{name}"}
    start, found = torch.linspace(-1, 1, 40), []
    for chosen in (False, True):
        arguments = optimizer_node(node, {"fused_optimizer": chosen})
        kind = getattr(torch.optim, arguments.pop("_target_").rpartition(".")[2])
        weights = torch.nn.Parameter(start.clone())
        optimizer = kind([weights], lr=0.01, **arguments)
        assert bool(optimizer.defaults["fused"]) is chosen
        for _ in range(3):
            optimizer.zero_grad()
            (weights**3).sum().backward()
            optimizer.step()
        found.append(weights.detach().numpy())
    np.testing.assert_allclose(*found, atol=1e-6)
    assert np.abs(found[0] - start.numpy()).max() > 1e-3


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "torch.optim.RMSprop"},
        {"_target_": "torch.optim.Adam", "foreach": True},
        {"_target_": "torch.optim.Adam", "fused": False},
    ],
)
def test_an_optimizer_that_cannot_or_has_its_own_way_stays(node):
    assert optimizer_node(node, {"fused_optimizer": True}) == node
