"""Configurations of earlier versions are read in today's words; new ones in their words are answered with today's."""

import pytest
import yaml

from lensblend.errors import RequestError
from lensblend.runs.checkpoints import parse_config
from lensblend.runs.configuration import config_hash, differing, read_config
from lensblend.runs.earlier import config_today, refuse_earlier_keys

LOSS = {"_target_": "lensblend.losses.pixel.L1"}


def config(key: str, guidance: str) -> dict:
    phase = {"lr": 0.1, "loss": {"l1": {"weight": 1.0, key: "bokeh", "loss": LOSS}, "off": None}}
    guide = {"_target_": f"{guidance}.Truth", "steps": ["on", {"on": True}]}
    return {"schedule": {"phases": {"phase1": phase}}, "saliency": guide}


BEFORE = config("on", "lensblend.training.guidance")
TODAY = config("compares", "lensblend.inference.guidance")


def test_a_run_of_an_earlier_version_is_unchanged(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(BEFORE, sort_keys=False))
    read = read_config(tmp_path)
    assert read == TODAY == parse_config(yaml.safe_dump(BEFORE), tmp_path)
    assert differing(read, TODAY) == {}
    assert config_hash(read) == config_hash(TODAY)
    assert list(read["schedule"]["phases"]["phase1"]["loss"]["l1"]) == ["weight", "compares", "loss"]


def test_a_configuration_of_today_stays_as_it_is():
    assert config_today(TODAY) == TODAY


@pytest.mark.parametrize("key", ["on", True])
def test_a_new_configuration_with_an_earlier_key_is_answered_with_the_key_of_today(key):
    wrong = config("compares", "lensblend.inference.guidance")
    wrong["schedule"]["phases"]["phase1"]["loss"]["l1"][key] = "mask"
    place = r"`schedule\.phases\.phase1\.loss\.l1\.on` is called `compares` today: write `compares: mask`"
    with pytest.raises(RequestError, match=place):
        refuse_earlier_keys(wrong)
    refuse_earlier_keys(TODAY)
