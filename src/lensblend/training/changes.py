"""What may change when a training goes on: a change is carried out and recorded, or refused with what to do instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lensblend.errors import RequestError, closest
from lensblend.runs.commands import typed
from lensblend.runs.configuration import differing, flat, is_below
from lensblend.training.phases import Schedule
from lensblend.training.request import maps_asked_for
from lensblend.training.truths import NEEDS

Standing = Literal["begun", "finished"]
# Of a phase that has begun: what it keeps, and why.
KEPT = {
    "max_epochs": "is not made shorter",
    "max_steps": "is not made shorter",
    "trainable": "keeps the parameters that its optimizer knows",
    "monitor": "keeps the score that has chosen its best.ckpt",
    "optimizer": "keeps its optimizer, but for betas, eps, weight_decay and SGD's momentum",
    "scheduler": "keeps its scheduler, whose state its checkpoint holds",
    "groups": "keeps the groups that its optimizer knows",
}
# What a phase with a scheduler does not look at once that has a state.
OF_THE_PATH = ("lr", "lr_final", "lr_path", "lr_every", "warmup")
# What a command makes a phase longer by; it says so itself.
LENGTHS = ("max_epochs", "max_steps")
# Of its optimizer: what acts from the next step on. Other arguments decide what it has gathered so far.
OF_THE_OPTIMIZER = ("betas", "eps", "weight_decay", "dampening", "nesterov", "momentum")
# Groups that only fill in others when a configuration is composed.
FILLED_IN = ("kernels", "backbone")


@dataclass(frozen=True)
class Consent:
    """What the command that goes on with a training allows to be other than before.

    Attributes:
        keys: Keys, or beginnings of keys.
        earlier: Hashes of configurations whose change was allowed and carried out before.
    """

    keys: Sequence[str] = ()
    earlier: Collection[str] = ()


def check_changes(
    trained: Mapping[str, Any],
    requested: Mapping[str, Any],
    path: Path,
    allowed: Sequence[str],
    standing: Mapping[str, Standing],
) -> list[str]:
    """Refuse to go on with another configuration, but for changes that are allowed and can be carried out.

    Args:
        trained: The configuration so far.
        requested: The configuration to go on with.
        path: The run's folder, or the checkpoint, that ``trained`` stands in.
        allowed: Keys, or beginnings of keys, that may differ.
        standing: The phases that have begun or are finished.

    Returns:
        One line for each change that is now to be carried out.

    Raises:
        RequestError: A key differs that may not, or whose change would have no effect; the message names each with
            both values, why, and what to do. Or what is allowed is no key.
    """
    _check_allowed(allowed, trained, requested)
    longer = lengthened(trained, requested, standing)
    allowed = [*allowed, *(_length_keys(longer))]
    standing = {**standing, **dict.fromkeys(longer, "begun")}
    changed = differing(trained, requested)
    lines = {k: f"{k}: {old!r} then, {new!r} now" for k, (old, new) in changed.items()}
    reasons = _obstacles(trained, requested, list(changed), standing, longer) if changed else {}
    refused = [k for k in changed if k in reasons or not is_below(k, allowed)]
    if refused:
        run_dir = path if path.is_dir() else path.parent.parent
        why = "".join(f" `{key}` stays: {reason}." for key, reason in reasons.items())
        remedy = (
            f"or start a new run from its weights: `{typed('init_from', run_dir)}`"
            if reasons
            else f"or allow the change: 'resume_overrides=[{','.join(refused)}]'"
        )
        raise RequestError(
            f"{path} was started with another configuration ({'; '.join(lines[k] for k in refused)}).{why} Repeat that "
            f"command to continue it (or `{typed('resume', run_dir)}`), give another `run_dir`, {remedy}."
        )
    return list(lines.values())


def lengthened(trained: Mapping[str, Any], requested: Mapping[str, Any], standing: Mapping[str, Standing]) -> list[str]:
    """Return the phase that is to be made longer, if any: the last one that has begun, whether finished or not.

    Args:
        trained: The configuration so far.
        requested: The configuration to go on with.
        standing: The phases that have begun or are finished.
    """
    before, now = (Schedule.from_config(c["schedule"]) if c.get("schedule") else None for c in (trained, requested))
    if before is None or now is None:
        return []
    begun = [name for name in now.run if name in standing and name in before.phases]
    return [name for name in begun[-1:] if now.phases[name].length.is_longer(before.phases[name].length)]


def _length_keys(longer: Sequence[str]) -> list[str]:
    """Return the keys that a phase is made longer by, if one is."""
    every = ["schedule.extend", "schedule.total_epochs", *(f"schedule.every_phase.{key}" for key in LENGTHS)]
    return [*every, *(f"schedule.phases.{name}.{key}" for name in longer for key in LENGTHS)] if longer else []


def _check_allowed(allowed: Sequence[str], trained: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Refuse names of which no configuration has a key, nor keys below."""
    keys = sorted({*trained, *requested, *flat(trained), *flat(requested)})
    for name in allowed:
        if not any(is_below(key, [name]) for key in keys):
            close = closest(name, keys)
            guess = f"did you mean `{close}`?" if close else "name keys, or what they begin with, such as loader."
            raise RequestError(f"`resume_overrides` allows `{name}` to change, which is not a key of this run; {guess}")


def _obstacles(
    trained: Mapping[str, Any],
    requested: Mapping[str, Any],
    changed: Sequence[str],
    standing: Mapping[str, Standing],
    longer: Sequence[str],
) -> dict[str, str]:
    """Return why changes cannot be carried out, by key."""
    before, now = (Schedule.from_config(c["schedule"]) if c.get("schedule") else None for c in (trained, requested))
    if before is None or now is None:
        return {}
    if all(standing.get(name) == "finished" for name in now.run):
        over = "every phase is finished, and none is trained again"
        last = f"{over}; {now.run[-1]}, the last one, can be made longer"
        return {key: last if key.rpartition(".")[2] in LENGTHS else over for key in changed}
    reasons = {}
    for key in changed:
        group = key.partition(".")[0]
        if group == "schedule":
            reason = _of_schedule(key, before, now, standing, longer)
        elif key in ("ema", "swa"):
            reason = _of_an_average(key, [config.get(key) for config in (trained, requested)], standing)
        elif group in NEEDS.values() and group not in maps_asked_for(requested):
            reason = f"nothing asks for {group}: neither the network nor a loss or metric"
        else:
            reason = _of_another(key, group, changed, standing)
        if reason:
            reasons[key] = reason
    return reasons


def _of_an_average(key: str, values: Sequence[float | None], standing: Mapping[str, Standing]) -> str | None:
    """Return why another average of the weights cannot be had; an exponential one may go on with another share."""
    if "begun" in standing.values() and (key == "swa" or None in values):
        return "the phase that has begun keeps what is averaged of its weights"
    return None


def _of_another(key: str, group: str, changed: Sequence[str], standing: Mapping[str, Standing]) -> str | None:
    """Return why a change outside of the schedule would have no effect."""
    if group in FILLED_IN and not any(is_below(k, ["model"]) for k in changed):
        return f"`{group}` only fills in `model` when a run is composed; give the whole command, with run_dir"
    if key == "name":
        return "a run keeps the name it was started with"
    if group == "init_from" and standing:
        return f"it is where the first phase starts, and {', '.join(standing)} began before"
    if group == "model" and key.rpartition(".")[2] == "weights" and standing:
        return "the weights come from the run's own checkpoints"
    if key == "trainer.fused_optimizer" and "begun" in standing.values():
        return "the phase that has begun keeps the optimizer's way of taking a step"
    if key == "module._target_" and "begun" in standing.values():
        return "the phase that has begun keeps its kind of module and its optimizers"
    return None


def _of_schedule(
    key: str, before: Schedule, now: Schedule, standing: Mapping[str, Standing], longer: Sequence[str]
) -> str | None:
    """Return why a change of the schedule would have no effect, or not the one that it should have."""
    place, names = key.split(".")[1:], now.run
    if place[0] in ("extend", "extended"):
        return None if longer and place[0] == "extend" else "no phase is made longer"
    if place[0] == "phases":
        _, name, *place = place
        if name not in now.phases or not place:
            return None
        names = [name]
    elif place[0] == "every_phase":
        place = place[1:]
    else:
        place = ["max_epochs"]  # of a total
    field = place[0]
    values = {n: [vars(s.phases[n])[field] if n in s.phases else None for s in (before, now)] for n in names}
    differ = [name for name, (old, new) in values.items() if old != new]
    if reason := _of_phases(place, {name: values[name] for name in differ}, before, now, standing, longer):
        return reason
    if not differ:
        return f"schedule.every_phase or schedule.total_epochs decides `{field}`"
    if not set(differ) & set(now.run):
        return f"{differ[0]} is not in schedule.run"
    return None


def _of_phases(
    place: Sequence[str],
    values: Mapping[str, Sequence[Any]],
    before: Schedule,
    now: Schedule,
    standing: Mapping[str, Standing],
    longer: Sequence[str],
) -> str | None:
    """Return why other values of phases, at a place in each, would have no effect on one that has begun."""
    field = place[0]
    for name, (old, new) in values.items():
        if standing.get(name) == "finished":
            return f"{name} is finished, and is not trained again{_why_not_longer(name, field, before, now, standing)}"
        if name in standing and field in OF_THE_PATH and now.phases[name].scheduler:
            return f"{name} has begun and {KEPT['scheduler']}"
        may = (name in longer and field in LENGTHS) or (field == "optimizer" and _acts(place, old, new))
        if name in standing and field in KEPT and not may:
            return f"{name} has begun and {KEPT[field]}"
    return None


def _why_not_longer(name: str, field: str, before: Schedule, now: Schedule, standing: Mapping[str, Standing]) -> str:
    """Say of a phase that could not be made longer that another one has begun from it."""
    after = [other for other in now.run[now.run.index(name) + 1 :] if other in standing] if name in now.run else []
    is_longer = name in before.phases and now.phases[name].length.is_longer(before.phases[name].length)
    return f": {after[0]} has begun from it" if field in LENGTHS and is_longer and after else ""


def _acts(place: Sequence[str], old: Any, new: Any) -> bool:
    """Tell whether a change of an optimizer's argument acts on one that has taken steps."""
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)] if len(place) == 1 else [place[1]]
    momentum = str(new.get("_target_")).endswith(".SGD")
    return all(key in OF_THE_OPTIMIZER and (key != "momentum" or momentum) for key in keys)
