"""The typed part of the configuration is made of what is checked later, and costs nothing that it does not need."""

import subprocess
import sys
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
from omegaconf import OmegaConf, ValidationError

from lensblend.cli.config import EveryPhaseSchema, PhaseSchema, phase_schemas
from lensblend.training.phases import Phase


@dataclass
class Longer(Phase):
    warm_up: int = 3
    extra: dict[str, Any] = field(default_factory=dict)


def test_a_new_key_of_a_phase_is_written_once():
    one, every = (OmegaConf.structured(schema) for schema in phase_schemas(Longer))
    assert (one.warm_up, one.extra, every.warm_up, every.extra) == (3, {}, None, None)
    with pytest.raises(ValidationError):
        one.warm_up = "long"
    with pytest.raises(ValidationError):
        every.warm_up = "long"
    every.extra = {"a": 1}


def test_the_schemas_have_a_phases_keys_and_defaults():
    names = [known.name for known in fields(Phase)]
    assert list(OmegaConf.structured(PhaseSchema)) == list(OmegaConf.structured(EveryPhaseSchema)) == names
    required = [key for key in names if OmegaConf.is_missing(OmegaConf.structured(PhaseSchema), key)]
    assert required == ["image_size", "batch_size", "max_epochs", "lr", "lr_final", "loss"]
    assert OmegaConf.structured(PhaseSchema).optimizer == {"_target_": "torch.optim.Adam"}
    assert set(OmegaConf.structured(EveryPhaseSchema).values()) == {None}


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_composing_a_configuration_imports_neither_torch_nor_numpy(verb):
    heavy = ("torch", "numpy", "scipy", "PIL", "pytorch_lightning", "albumentations")
    code = f"import sys, lensblend.cli.{verb}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
