"""Every argument of Lightning's trainer is passed on, or answered with the key that does what it asks for."""

import inspect
from datetime import timedelta

import pytest
import pytorch_lightning as pl

from lensblend.errors import RequestError
from lensblend.training.lightning import ABOVE_ZERO, ENDING, OURS, PASSED, trainer_arguments

CLASSES = {"passed": PASSED, "ours": OURS, "ending": ENDING}


def test_every_argument_of_lightnings_trainer_is_in_one_class():
    there = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    listed = [name for names in CLASSES.values() for name in names]
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("name", [*OURS, *ENDING])
def test_what_the_runner_sets_or_a_phase_decides_is_refused_with_what_does_it(name):
    with pytest.raises(RequestError, match=f"`trainer.{name}=3` (would have no effect|is not taken): .+"):
        trainer_arguments({"devices": 1, name: 3})
    assert trainer_arguments({"devices": 1, name: None}) == {"devices": 1}


@pytest.mark.parametrize("name", PASSED)
def test_the_others_are_passed_on(name):
    node = {"gradient_clip_val": 3, name: 3}
    assert trainer_arguments(node) == node


@pytest.mark.parametrize("name", ABOVE_ZERO)
@pytest.mark.parametrize("value", [0, 0.0, -1, float("nan"), float("inf")])
def test_numbers_that_train_or_validate_nothing_are_refused_with_what_to_do(name, value):
    with pytest.raises(RequestError, match=rf"`trainer.{name}` is above 0 and finite, but got {value}; \w+"):
        trainer_arguments({name: value})


def test_a_way_to_clip_nothing_is_refused():
    with pytest.raises(RequestError, match=r"algorithm='norm'` would have no effect: set trainer\.gradient_clip_val"):
        trainer_arguments({"gradient_clip_algorithm": "norm"})


def test_an_unknown_argument_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match=r"`trainer.device` is not an argument .* did you mean `devices`"):
        trainer_arguments({"device": 2})


def test_the_keys_that_are_named_are_there():
    """What a refusal advises is in the configuration's types."""
    from lensblend.cli.config import EveryPhaseSchema, Loader, PhaseSchema, ScheduleSchema, Train

    known = {"schedule.phases.PHASE": PhaseSchema, "schedule.every_phase": EveryPhaseSchema}
    known |= {"schedule": ScheduleSchema, "loader": Loader}
    for advice in [*OURS.values(), *ENDING.values(), *ABOVE_ZERO.values()]:
        for word in advice.replace(",", " ").replace(";", " ").replace(":", " ").split():
            place, dot, name = word.rpartition(".")
            if dot and place in known:
                assert name in known[place].__dataclass_fields__, word
    assert {"run_dir", "deterministic", "logger", "callbacks", "checkpoint"} <= set(Train.__dataclass_fields__)


def test_a_strategy_is_a_node_with_pytorchs_arguments_by_name():
    node = {"_target_": "lensblend.training.strategies.DDP", "static_graph": True, "timeout": 60}
    built = trainer_arguments({"strategy": node})["strategy"]
    assert built._timeout == timedelta(minutes=1)
    asked = {"static_graph": True, "gradient_as_bucket_view": True, "find_unused_parameters": False}
    assert built._ddp_kwargs == asked
    assert trainer_arguments({"strategy": "ddp"}) == {"strategy": "ddp"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"timeout": 0}, "`trainer.strategy.timeout` is a number of seconds above 0, but got 0"),
        ({"timeout": float("inf")}, "above 0, but got inf"),
        ({"timeout": "soon"}, "`trainer.strategy.timeout` is 'soon', but it is of type float"),
        ({"static_grpah": True}, "`trainer.strategy.static_grpah` is not an argument .*did you mean `static_graph`"),
        ({"_target_": "os.system"}, "`trainer.strategy._target_` is 'os.system', which may not be built there"),
    ],
)
def test_a_strategy_that_is_none_is_refused(changes, says):
    node = {"_target_": "lensblend.training.strategies.DDP", **changes}
    with pytest.raises(RequestError, match=says):
        trainer_arguments({"strategy": node})
