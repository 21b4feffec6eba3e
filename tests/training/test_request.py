"""Every level of composed configurations, with a key that nothing takes."""

import signal

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lensblend.cli.config import config_folder, register
from lensblend.cli.explanations import dotted, explain
from lensblend.cli.hydra_app import check_keys, plain
from lensblend.errors import RequestError
from lensblend.training.request import check_request

PRESETS = {
    "default": [],
    "adversarial": ["baseline=slyym", "+trainer.benchmark=false"],
    "saliency": ["experiment=saliency_scrn", "data=masks", "data.photos=x", "data.masks=y"],
}


def composed(overrides):
    GlobalHydra.instance().clear()
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("train", [*overrides, "run_dir=out"])


def refusal(config):
    """What is said of a configuration, or nothing; any other exception than those that are explained goes on."""
    try:
        check_keys(config)
        check_request(plain(config, leave_out=("resume", "run_dir")))
    except (RequestError, OmegaConfBaseException) as error:
        return explain(error, "train")
    return ""


def changed(config, path, value, add=False):
    other = config.copy()
    try:
        OmegaConf.update(other, path, value, merge=False, force_add=add)
    except OmegaConfBaseException as error:
        return None, explain(error, "train")
    return other, ""


@pytest.fixture(scope="module", params=PRESETS)
def preset(request):
    config = composed(PRESETS[request.param])
    return config, [path for path, _ in dotted(config) if path not in ("run_dir", "resume")]


def test_as_it_is_it_is_taken(preset):
    assert refusal(preset[0]) == ""


def test_an_unknown_key_is_refused_at_every_level(preset):
    config, _ = preset
    groups = [path for path, node in dotted(config) if OmegaConf.is_dict(node) and not node._is_none()]
    assert len(groups) > 20
    for path in ["", *groups]:
        key = f"{path}.unknown_key" if path else "unknown_key"
        other, said = changed(config, key, 5, add=True)
        said = said or refusal(other)
        # Where names are free, 5 is no such thing.
        assert "unknown_key" in said or "5" in said, (key, said)
        assert f"did you mean `{key}`" not in said


WRONG = ({"a": 1}, [1, -2], "x", -1, 10**30, float("nan"), None)


@pytest.mark.slow
def test_a_wrong_value_of_any_key_is_taken_or_refused_in_words():
    """Every key path with values of other kinds: nothing but an explained refusal comes of it, and it comes soon."""
    config = composed(["debug=smoke", "+backbone.width_divisor=16"])

    def too_long(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    paths = [path for path, _ in dotted(config) if path not in ("run_dir", "resume")]
    broken, refused = [], 0
    try:
        for path in paths:
            for value in WRONG:
                signal.alarm(60)
                try:
                    other, said = changed(config, path, value)
                    said = said or refusal(other)
                except Exception as error:
                    broken.append(f"{path}={value!r}: {type(error).__name__}: {error}"[:300])
                    continue
                refused += bool(said)
                if len(said) > 1500:
                    broken.append(f"{path}={value!r}: {len(said)} characters: {said[:200]}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert broken == []
    assert len(paths) > 100
    assert refused > len(paths) * len(WRONG) / 2
