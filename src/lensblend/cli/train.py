"""``lensblend train``: a Hydra configuration in, checkpoints, metrics.csv, panels and W&B runs out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lensblend.cli.arguments import as_meant, given, is_one_run
from lensblend.cli.config import Train
from lensblend.cli.hydra_app import explained_errors, plain, run_verb
from lensblend.cli.identity import differences, identify
from lensblend.cli.idle import refuse_idle
from lensblend.cli.restored import OF_THE_COMMAND, restored
from lensblend.cli.surroundings import settle
from lensblend.errors import DataError, RequestError
from lensblend.runs.configuration import overrides_hash, read_config
from lensblend.runs.earlier import refuse_earlier_keys
from lensblend.runs.places import placed
from lensblend.runs.processes import processes
from lensblend.runs.status import Lock

SEEDS = 2**32  # as many as NumPy takes
_typed: list[str] = []  # the command, before Hydra has its share of it


def train(config: DictConfig) -> None:
    """Train every phase of the schedule in the run's folder, or go on in the folder that ``resume`` names."""
    hydra_config = HydraConfig.get()
    named = [key for key in ("run_dir", "resume") if OmegaConf.select(config, key)]
    if named and hydra_config.mode == RunMode.MULTIRUN:
        raise RequestError(
            f"`{named[0]}={config[named[0]]}` would put every job of a multirun into one folder; "
            f"set `hydra.sweep.dir` and leave `{named[0]}` out."
        )
    if hydra_config.mode == RunMode.MULTIRUN:
        _refuse_several_devices(config)
    if len(named) > 1:
        raise RequestError("`resume` names the run's folder itself; leave `run_dir` out.")
    overrides: Any = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)  # as typed, `${...}` too
    _check_swept(hydra_config, overrides)
    # Not the current folder where `hydra.job.chdir=true`.
    base = Path(hydra_config.runtime.cwd)
    run_dir = Path(config[named[0]] if named else hydra_config.runtime.output_dir)
    run_dir = run_dir if Path.cwd() == base else base / run_dir
    content = restored(run_dir, overrides) if named == ["resume"] else plain(config, leave_out=OF_THE_COMMAND)
    # An average that is none is left out: runs of earlier versions have no word of it, and go on.
    content = {key: value for key, value in content.items() if value is not None or key not in ("ema", "swa")}
    _refuse_deleted(content)
    refuse_earlier_keys(content)
    # So that the run finds its data again from wherever it is resumed or evaluated.
    content = placed(content, base)
    # Imported late: `--help` and `--cfg` need none of it.
    from lensblend.runs.documents import check_plain
    from lensblend.runs.messages import say
    from lensblend.runs.redaction import redact
    from lensblend.runs.starts import Start
    from lensblend.training.phase_run import Identity
    from lensblend.training.request import check_request
    from lensblend.training.runner import Training

    start = Start.from_config(content.get("init_from"))
    content["init_from"] = None if start is None else start.as_config()
    try:
        # What is recorded is never resolved again, so that it means the same wherever it is read.
        check_plain(content, "The configuration")
    except DataError as error:
        raise RequestError(str(error)) from None
    if not 0 <= content["seed"] < SEEDS:
        raise RequestError(f"`seed` is 0 to {SEEDS - 1}, but got {content['seed']}.")
    check_request(content)
    refuse_idle(overrides, content, None if named == ["resume"] else config)
    # Beside `resume` the groups are the defaults, not what the run was started with; its folder knows that.
    identity = Identity() if named == ["resume"] else identify(content["name"], overrides)
    training = Training({**content, "run_dir": str(run_dir)}, run_dir, identity, overrides_hash(overrides), _typed)
    if config["print_config"]:
        say(yaml.safe_dump(redact(content), sort_keys=False, allow_unicode=True))
    say(f"Training in {run_dir}")
    if named != ["resume"]:
        say(f"Differs from the defaults: {', '.join(differences(overrides)) or 'nothing'}")
    training.run()
    ended = str(training.status.content["state"]).capitalize()
    say(f"\n{ended}. Checkpoints, metrics.csv and panels are in {run_dir}")


def _check_swept(hydra_config: Any, overrides: Sequence[str]) -> None:
    """Refuse to train once what a preset or a search spans; a job of it has a value for each of its keys."""
    given = {override.partition("=")[0].lstrip("+~") for override in overrides}
    chosen = hydra_config.runtime.choices
    named = f"+sweep={chosen['sweep']}" if chosen.get("sweep") else f"hparams_search={chosen.get('hparams_search')}"
    left = [f"`{key}`" for key in hydra_config.sweeper.get("params") or {} if key not in given]
    if left and hydra_config.mode == RunMode.RUN:
        raise RequestError(f"`{named}` is several trainings: add --multirun, or, for one, set {', '.join(left)}.")


def _refuse_several_devices(config: DictConfig) -> None:
    """Refuse to train with several processes from within the one that runs the other jobs of a sweep as well.

    The further processes would each run the whole sweep.
    """
    trainer: Any = OmegaConf.to_container(config.trainer, resolve=True)
    count = processes(trainer)
    if count is None:
        import torch

        count = torch.cuda.device_count()
    if count > 1:
        launcher = HydraConfig.get().runtime.choices.get("hydra/launcher")
        raise RequestError(
            f"`trainer.devices={trainer.get('devices')}` needs several processes, but hydra/launcher={launcher} runs "
            "all jobs of a sweep in one; leave it at hydra/launcher=subprocess, which gives each job its own."
        )


def _refuse_deleted(content: Mapping[str, Any]) -> None:
    """Refuse a configuration from which a group of keys is deleted that every training has."""
    for known in fields(Train):
        if known.default_factory is not MISSING and known.name not in (*content, *OF_THE_COMMAND):
            raise RequestError(
                f"`~{known.name}` would leave the training without `{known.name}`; leave it out, or set its keys: "
                f"{known.name}.KEY=VALUE."
            )


def _refuse_empty(folders: Mapping[str, str | None]) -> None:
    """Refuse a folder's name without a letter, of a variable without a value: it would begin a new training."""
    for key, folder in folders.items():
        if folder == "":
            raise RequestError(f"`{key}` is a folder, but got ''; name it, or leave `{key}` out.")


def main() -> None:
    """Run the verb and exit."""
    settle()
    _typed[:] = ["lensblend", "train", *sys.argv[1:]]
    # As a flag too, like Hydra's own that print a configuration, `--cfg` and `--help`.
    sys.argv[1:] = as_meant(["print_config=true" if word == "--print-config" else word for word in sys.argv[1:]])
    resumed, *others = (given(sys.argv[1:], key) for key in ("resume", "run_dir", "hydra.run.dir"))
    with ExitStack() as stack:
        with explained_errors("train"):
            _refuse_empty(dict(zip(("resume", "run_dir", "hydra.run.dir"), (resumed, *others), strict=True)))
            # Before Hydra makes a folder of that name.
            if resumed:
                read_config(Path(resumed))
            folder = resumed or next(filter(None, others), None)
            if folder and is_one_run(sys.argv[1:]):
                # Before Hydra writes to it what this command asks for.
                stack.enter_context(Lock(Path(folder)))
        if resumed:
            # The run's own .hydra/ stays: what Hydra composes now is not what is trained.
            sys.argv.append("hydra.output_subdir=null")
        run_verb(train, "train")


if __name__ == "__main__":
    main()
