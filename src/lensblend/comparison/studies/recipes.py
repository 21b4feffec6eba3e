"""In what a run differs from a published recipe: every key that decides a result, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lensblend.comparison.runs import Entry, class_name
from lensblend.inference.guidance import guidance_of
from lensblend.runs.configuration import flat, is_free

Config = Mapping[str, Any]
# Beginnings of keys that are said elsewhere, are copies of others, or decide nothing.
_ELSEWHERE = ("data", "init_from", "kernels", "backbone", "schedule", "saliency", "disparity", "focus", "callbacks")
_NOTHING = (
    "seed",
    "name",
    "metrics",
    "not_finite",
    "run_dir",
    "resume",
    "module.channels_last",
    "module.checkpoint_activations",
)
# Of a map's source and of a network: where weights are, which says nothing of what they are.
_PLACES = ("weights", "folder", "path")
_MISSING = object()


@dataclass(frozen=True)
class Recipes:
    """What runs are compared with.

    Attributes:
        of: Returns the configuration of a published method by its name in conf/baseline, carried out.
        carried_out: Returns a run's configuration with the schedule that its trainings followed.
    """

    of: Callable[[str], Config]
    carried_out: Callable[[Config], Config]


def differences_from(
    baseline: str, entry: Entry, recipes: Recipes | None, but: Sequence[str] = (), is_trained: bool = True
) -> list[str]:
    """Return in what a run differs from a published recipe, each difference in words.

    Args:
        baseline: The recipe's name in conf/baseline.
        entry: The run and the phase whose result is meant; what came after it does not count.
        recipes: None where there are none at hand: then nothing is said.
        but: Keys, or beginnings of keys, that are said elsewhere.
        is_trained: Whether there is anything to train; where there is not, only how it renders counts.
    """
    if recipes is None:
        return []
    theirs, ours = recipes.of(baseline), recipes.carried_out(entry.config)
    found = _phases(theirs, ours, entry.phase, is_trained)
    found += [f"the loss term {name} was left out" for name in entry.left_out]  # for want of weights
    found += _sources(theirs, ours)
    skipped = (*_ELSEWHERE, *_NOTHING, *but, *(() if is_trained else ("loader", "module")))
    found += _values(_decisive(theirs, skipped), _decisive(ours, skipped))
    if is_trained:
        found += _data(ours)
        found += [f"with {name}" for name in _callbacks(ours) if name not in _callbacks(theirs)]
    return list(dict.fromkeys(found))


def _decisive(config: Config, skipped: Sequence[str]) -> dict[str, Any]:
    """Return the values that decide a result, by their dotted keys."""
    return {
        key: value
        for key, value in flat(_numbered(config)).items()
        if not is_free(key)
        and not any(key == name or key.startswith(f"{name}.") for name in skipped)
        and key.rsplit(".", 1)[-1] not in _PLACES
    }


def _numbered(node: Any) -> Any:
    """Return a configuration whose lists of groups are groups by number."""
    if isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        node = dict(enumerate(node))
    return {key: _numbered(value) for key, value in node.items()} if isinstance(node, Mapping) else node


def _values(theirs: Config, ours: Config) -> list[str]:
    """Compare values by their keys; a run of an earlier version lacks keys, of which nothing is known."""
    found = []
    for key in dict.fromkeys([*theirs, *ours]):
        own, wanted = ours.get(key, _MISSING), theirs.get(key, _MISSING)
        if own is _MISSING or own == wanted or (own is None and wanted is _MISSING):
            continue
        name = key.removesuffix("._target_")
        words = _WORDS.get(key, lambda value, name=name: f"{name} {_short(value)}")
        found.append(words(own) if wanted is _MISSING else _contrast(words(own), words(wanted), name))
    return found


def _phases(theirs: Config, ours: Config, phase: str, is_trained: bool) -> list[str]:
    """Compare the phases up to the one that is meant."""
    wanted, own = (config.get("schedule") or {} for config in (theirs, ours))
    order, ran = list(wanted.get("run") or ()), list(own.get("run") or ())
    if phase not in order:
        return [f"its {phase} is no phase of the recipe ({', '.join(order)})"] if order else []
    before, came = order[: order.index(phase)], ran[: ran.index(phase)] if phase in ran else []
    found = []
    if is_trained:
        found += [f"{name} was not trained before" for name in before if ran and name not in came]
        found += [f"{name} was trained before" for name in came if name not in before]
    said: dict[str, list[str]] = {}
    for name in [*before, phase]:
        for text in _phase(wanted["phases"].get(name) or {}, (own.get("phases") or {}).get(name) or {}, is_trained):
            said.setdefault(text, []).append(name)
    if len(order) == 1 or not is_trained:
        return found + list(said)
    every = [*before, phase] if before else []
    return found + [f"{'every phase' if names == every else ' and '.join(names)}: {t}" for t, names in said.items()]


def _phase(theirs: Config, ours: Config, is_trained: bool) -> list[str]:
    found = []
    for key, words in _PHASE_WORDS.items():
        if key in ours and ours[key] != theirs.get(key) and (is_trained or key == "image_size"):
            found.append(_contrast(words(ours[key]), words(theirs.get(key)), key))
    return found


def _sources(theirs: Config, ours: Config) -> list[str]:
    """Compare where the maps come from that the recipe's network takes and that its losses compare with."""
    needed = list(guidance_of(theirs["model"], "model"))
    phases = (theirs.get("schedule") or {}).get("phases") or {}
    terms = [term for phase in phases.values() for term in phase["loss"].values()]
    needed += ["focus"] if any(term["compares"] == "mask" for term in terms) else []
    found = []
    for name in needed:
        wanted, own = theirs.get(name) or {}, ours.get(name) or {}
        if own and _source(own) != _source(wanted):
            found.append(f"{name} from {_source(own)}, not {_source(wanted)}")
        elif own:
            skipped = ("_target_", "network._target_", "image_size")
            # Earlier versions took every map as it is.
            own = {"norm": "none", **own} if "norm" in wanted else own
            pairs = (_decisive({name: source}, [f"{name}.{key}" for key in skipped]) for source in (wanted, own))
            found += _values(*pairs)
    return found


def _source(node: Config) -> str:
    return class_name(node.get("network") or {}) or class_name(node)


def _data(config: Config) -> list[str]:
    data = config.get("data") or {}
    lists = [f"an own {kind[:-5]} list" for kind in ("train_list", "val_list") if data.get(kind)]
    return lists + (["with pairs excluded"] if data.get("exclude") else [])


def _callbacks(config: Config) -> list[str]:
    return [class_name(node) for node in (config.get("callbacks") or {}).values() if node]


def loss_words(loss: Config) -> str:
    """Return a loss in words.

    Example:
        >>> loss_words({"l1": {"weight": 1.0, "compares": "bokeh", "loss": {"_target_": "lensblend.losses.pixel.L1"}}})
        'loss L1'
    """
    return f"loss {' + '.join(_term(term) for term in loss.values() if term)}"


def _term(term: Config) -> str:
    weight, compared, loss = term.get("weight", 1.0), term.get("compares", "bokeh"), term.get("loss") or {}
    options = [f"{key} {_short(value)}" for key, value in loss.items() if key not in ("_target_", *_PLACES)]
    options += [f"decay {term['decay']:g}"] if "decay" in term else []
    words = [] if weight == 1 else [_short(weight)]
    words += [class_name(loss), *([] if compared == "bokeh" else [f"of {compared}"]), *_in_brackets(options)]
    return " ".join(words)


def _optimizer(node: Config) -> str:
    options = [f"{key} {_short(value)}" for key, value in node.items() if key != "_target_"]
    return " ".join([class_name(node), *_in_brackets(options)])


def _in_brackets(options: Sequence[str]) -> list[str]:
    return [f"({', '.join(options)})"] if options else []


def _size(value: Any) -> str:
    return "×".join(map(str, value)) if value else "none"


def _short(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, Mapping):
        return class_name(value) or ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    return str(value).rsplit(".", 1)[-1] if str(value).startswith(("lensblend.", "torch.")) else str(value)


def _contrast(own: str, wanted: str, key: str) -> str:
    """Return both in one phrase, without repeating the words that they begin with."""
    heads = (f"{key} ", "crops of ", "batches of ", "flips ", "loss ", "precision ")
    head = next((head for head in heads if own.startswith(head) and wanted.startswith(head)), "")
    return f"{own}, not {wanted.removeprefix(head)}"


_PHASE_WORDS: dict[str, Callable[[Any], str]] = {
    "image_size": lambda value: f"{_size(value)} px",
    "crop": lambda value: f"crops of {_size(value)}" if value else "no crops",
    "batch_size": lambda value: f"batches of {value}",
    "max_epochs": lambda value: f"{value} epoch{'s' if value != 1 else ''}",
    "max_steps": lambda value: f"at most {value} steps" if value else "no limit of steps",
    "warmup": lambda value: f"warmup {_short(value)}" if value else "no warm-up",
    "scheduler": lambda value: f"scheduler {_short(value)}",
    "groups": lambda value: f"groups {_short(value)}",
    "lr": lambda value: f"lr {_short(value)}",
    "lr_final": lambda value: f"lr_final {_short(value)}",
    "lr_path": lambda value: f"lr_path {value}",
    "lr_every": lambda value: f"one every {value} epochs" if value else "no drop of the rate",
    "loss": loss_words,
    "optimizer": _optimizer,
    "trainable": lambda value: f"trainable {_short(value) if value else 'all'}",
    "monitor": lambda value: f"monitor {value}",
    "validate_every": lambda value: f"validate_every {value}",
}
_WORDS: dict[str, Callable[[Any], str]] = {
    "loader.flips": lambda value: f"flips {value}",
    "loader.limit_train": lambda value: f"the first {value} training pairs" if value else "all",
    "loader.limit_val": lambda value: f"the first {value} validation pairs" if value else "all",
    "trainer.precision": lambda value: f"precision {value}",
}
