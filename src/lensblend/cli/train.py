"""``lensblend train``: a Hydra configuration in, checkpoints, metrics.csv, panels and W&B runs out."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lensblend.cli.hydra_app import choices, plain, run_verb
from lensblend.errors import RequestError

TAGGED = ("kernels", "backbone", "model", "schedule", "data", "baseline", "experiment")


def train(config: DictConfig) -> None:
    """Train every phase of the schedule in the run's folder."""
    hydra_config = HydraConfig.get()
    given = not OmegaConf.is_missing(config, "run_dir")
    if given and hydra_config.mode == RunMode.MULTIRUN:
        raise RequestError(
            f"`run_dir={config.run_dir}` would put every job of a multirun into one folder; "
            "set `hydra.sweep.dir` and leave `run_dir` out."
        )
    run_dir = Path(config.run_dir if given else hydra_config.runtime.output_dir)
    config.run_dir = str(run_dir)
    # Imported late: `--help` and `--cfg` need none of it.
    from lensblend.training.messages import say
    from lensblend.training.runner import Training
    from lensblend.training.status import overrides_hash

    chosen = choices()
    tags = [chosen[group] for group in TAGGED if group in chosen]
    training = Training(plain(config), run_dir, tags)
    training.status.content["overrides_hash"] = overrides_hash(list(hydra_config.overrides.task))
    say(f"Training in {run_dir}")
    training.run()
    say(f"\nDone. Checkpoints, metrics.csv and panels are in {run_dir}")


def main() -> None:
    """Run the verb and exit."""
    run_verb(train, "train")


if __name__ == "__main__":
    main()
