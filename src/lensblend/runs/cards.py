"""What a run's own records say of a network, as Markdown: a model card, or a challenge's factsheet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from lensblend.errors import printable
from lensblend.priors.weights import MANIFEST
from lensblend.runs.checkpoints import Trained
from lensblend.runs.publishing import published
from lensblend.runs.status_file import read_status

UNKNOWN = "unknown: the records do not say"
Facts = dict[str, list[tuple[str, str]]]
# Of a phase, in the order in which they are told; `loss` has lines of its own.
_OF_A_PHASE = (
    "image_size",
    "batch_size",
    "max_epochs",
    "max_steps",
    "warmup",
    "scheduler",
    "groups",
    "lr",
    "lr_final",
    "lr_path",
    "optimizer",
    "crop",
    "trainable",
)


def facts(trained: Trained) -> Facts:
    """Return what is known of a network, by heading: names and values.

    Nothing of the machine is among it; what the records do not say is said to be unknown.

    Args:
        trained: The network, its record, and where a run's folder was named the run's scores.
    """
    record = published(trained.record, trained.config, trained.card)
    config = yaml.safe_load(record["config"])
    config = config if isinstance(config, dict) else {}
    height, width = trained.image_size
    return {
        "Network": [
            ("kind", type(trained.network).__name__),
            ("parameters", f"{sum(parameter.numel() for parameter in trained.network.parameters()):,}"),
            ("works at", f"{height}×{width} (height × width)"),
            ("settings", _flat(record["network"])),
            ("f-number of what it renders", f"{trained.f_number:g}" if trained.f_number else UNKNOWN),
            ("hash of the file", f"sha256 {trained.sha256}"),
        ],
        "Data": [("source", _kind(config.get("data"))), ("settings", _flat(config.get("data")))],
        "Training": [*_phases(config.get("schedule"), record), *_circumstances(config, record)],
        "Scores": _scores(trained),
        "Licences": [
            ("weights", str(trained.card.get("licence", UNKNOWN))),
            ("whose photos", str(trained.card.get("attributions", UNKNOWN))),
            *_priors(config),
        ],
    }


def markdown(title: str, sections: Mapping[str, Iterable[tuple[str, str]]]) -> str:
    r"""Return facts as a page; no value can become a heading, a list or a link.

    Example:
        >>> print(markdown("a", {"Data": [("source", "`x`\n# y")]}))
        # a
        <BLANKLINE>
        ## Data
        <BLANKLINE>
        - source: `'x' # y`
        <BLANKLINE>
    """
    parts = [f"# {_line(title)}"]
    for heading, rows in sections.items():
        parts.append(f"## {heading}\n\n" + "\n".join(f"- {name}: {_quoted(value)}" for name, value in rows))
    return "\n\n".join(parts) + "\n"


def _line(text: str) -> str:
    return printable(" ".join(text.split()))


def _quoted(value: str) -> str:
    return value if value == UNKNOWN else "`" + _line(value).replace("`", "'") + "`"


def _kind(node: Any) -> str:
    """Return the class of a node of a configuration, without its modules."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return str(target).rsplit(".", 1)[-1] if target else UNKNOWN


def _flat(node: Any) -> str:
    """Return a node's values as ``key=value``, those of nodes in it with their names before them."""

    def pairs(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for key, value in node.items():
            if isinstance(value, Mapping):
                yield from pairs(value, f"{prefix}{key}.")
            elif key == "_target_":
                yield f"{prefix.rstrip('.')}={_kind(node)}" if prefix else ""
            elif value is not None:
                yield f"{prefix}{key}={value}"

    found = [pair for pair in pairs(node, "") if pair] if isinstance(node, Mapping) else []
    return ", ".join(found) or UNKNOWN


def _phases(schedule: Any, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each phase's settings and losses, in the order of the run."""
    schedule = schedule if isinstance(schedule, Mapping) else {}
    phases = schedule.get("phases")
    phases = phases if isinstance(phases, Mapping) else {}
    run = schedule.get("run")
    run = [str(name) for name in run] if isinstance(run, list) else [str(record["phase"])]
    everywhere = schedule.get("every_phase")
    everywhere = {k: v for k, v in everywhere.items() if v is not None} if isinstance(everywhere, Mapping) else {}
    rows = [("phases", ", ".join(run)), ("this file is of", str(record["phase"]))]
    if schedule.get("total_epochs") is not None:
        rows.append(("epochs of all phases together", str(schedule["total_epochs"])))
    for name in run:
        phase = phases.get(name)
        if not isinstance(phase, Mapping):
            rows.append((name, UNKNOWN))
            continue
        phase = {**phase, **everywhere}
        said = {key: phase[key] for key in _OF_A_PHASE if phase.get(key) is not None}
        if isinstance(said.get("optimizer"), Mapping):
            said["optimizer"] = _kind(said["optimizer"])
        rows += [(name, _flat(said)), (f"{name}, losses", _losses(phase.get("loss")))]
    return rows


def _losses(losses: Any) -> str:
    if not isinstance(losses, Mapping):
        return UNKNOWN
    terms = [(term, _kind(term.get("loss"))) for term in losses.values() if isinstance(term, Mapping)]
    return " + ".join(f"{term.get('weight', '?')} × {kind} of {term.get('compares', '?')}" for term, kind in terms)


def _circumstances(config: Mapping[str, Any], record: Mapping[str, Any]) -> list[tuple[str, str]]:
    parent = record.get("parent") or {}
    started = f"{parent['path']}, sha256 {parent.get('sha256')}" if parent.get("path") else "no checkpoint"
    versions, commits = record.get("versions") or {}, record.get("commits") or {}
    return [
        ("seed", str(config.get("seed", UNKNOWN))),
        ("precision", str((config.get("trainer") or {}).get("precision", UNKNOWN))),
        ("started from", started if "parent" in record else UNKNOWN),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items()) or UNKNOWN),
        ("hash of the configuration", str(record.get("config_hash", UNKNOWN))),
        ("commit", ", ".join(f"{name} {commit}" for name, commit in commits.items()) or UNKNOWN),
    ]


def _scores(trained: Trained) -> list[tuple[str, str]]:
    """Return the validation scores that a run has kept of its phases, as they stood at their ends."""
    file = trained.run_dir / "status.json"
    if not trained.is_run or not file.is_file():
        return [("of validation", UNKNOWN)]
    phases = read_status(file).get("phases", {})
    rows = [
        (f"{name} ({phase.get('state', '?')}, {phase.get('step', '?')} steps)", _flat(phase["scores"]))
        for name, phase in phases.items()
        if phase.get("scores")
    ]
    return rows or [("of validation", UNKNOWN)]


def _priors(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the weights that the training took over from others, and the licence of a published file, by its name."""
    licences = {file.file_name: file.licence for file in MANIFEST.values()}

    def taken(node: Any) -> Iterator[tuple[str, str]]:
        if isinstance(node, Mapping):
            weights = node.get("weights")
            if isinstance(weights, str):
                what = f"{node.get('name') or _kind(node.get('network') or node)}, weights {weights}"
                yield what, licences.get(weights, UNKNOWN)
            node = list(node.values())
        for value in node if isinstance(node, list) else ():
            yield from taken(value)

    return list(dict.fromkeys(taken({key: value for key, value in config.items() if key != "schedule"})))
