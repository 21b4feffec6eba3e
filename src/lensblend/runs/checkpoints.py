"""What a checkpoint says of itself, and the network rebuilt from it alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
import yaml

import lensblend
from lensblend.errors import DataError, RequestError
from lensblend.networks.ensemble import Ensemble
from lensblend.nn.rendering import BokehNetwork, Network
from lensblend.runs.checkpoint_files import BEST, is_checkpoint, read_checkpoint
from lensblend.runs.configuration import config_hash
from lensblend.runs.contents import FORMAT, RECORD, require
from lensblend.runs.documents import parse_yaml
from lensblend.runs.earlier import config_today
from lensblend.runs.files import file_sha256
from lensblend.runs.hub import fetched, is_address
from lensblend.runs.instantiate import classes_in
from lensblend.runs.models import is_model, model_file
from lensblend.runs.phase_order import last_phase
from lensblend.runs.places import placed, started_in
from lensblend.runs.recorded import rebuild
from lensblend.runs.roles import DATA, MODELS
from lensblend.runs.starts import Start, load_part
from lensblend.runs.weights import WHOLE, load_weights

_GIVE = "give a .ckpt or .safetensors file, a run's folder, `default`, the model in the box, or hf://OWNER/NAME."


def describe(
    network: Mapping[str, Any], phase: str, image_size: list[int], config: Mapping[str, Any], parent: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a checkpoint says of itself: primitives only, so that it loads with ``weights_only=True``.

    Args:
        network: The network's node of the configuration, as plain dicts.
        phase: The phase that trained it.
        image_size: Height and width the phase trained at.
        config: The whole configuration.
        parent: What the phase started from: ``path`` and ``sha256``, both empty for random weights.
    """
    return {
        "format": FORMAT,
        "network": without_weights(network),
        "phase": phase,
        "image_size": list(image_size),
        "config": yaml.safe_dump(dict(config), sort_keys=False),
        "config_hash": config_hash(config),
        "parent": dict(parent),
        "versions": {
            "lensblend": lensblend.__version__,
            "torch": str(torch.__version__),
            **{name: version(name) for name in ("pytorch-lightning", "hydra-core", "numpy", "pillow")},
        },
    }


def without_weights(node: Any) -> Any:
    """Leave out the files that a network's parts started from: a checkpoint holds their weights itself."""
    if isinstance(node, Mapping):
        left_out = {"weights": None, "download": False}
        return {key: left_out.get(key, without_weights(value)) for key, value in node.items()}
    return [without_weights(value) for value in node] if isinstance(node, list) else node


@dataclass(frozen=True)
class Trained:
    """A network out of a checkpoint.

    Attributes:
        network: With its weights, in evaluation mode, on the CPU.
        record: What the checkpoint says of itself, see :func:`describe`.
        path: The file it came from.
        sha256: The file's hash.
        is_run: Whether a run's or a phase's folder was named, and not a file. Only then files that the record names,
            such as its data set's, are read: whoever sends a checkpoint does not choose what it finds here.
    """

    network: Network
    record: dict[str, Any]
    path: Path
    sha256: str
    is_run: bool = False

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration that it was trained with, as plain dicts.

        Raises:
            DataError: The record holds none.
        """
        config = parse_config(self.record["config"], self.path)
        return placed(config, started_in(self.run_dir)) if self.is_run else config

    @property
    def card(self) -> Mapping[str, Any]:
        """What was said of it when it was exported: ``licence``, ``attributions``, ``f_number``; else nothing."""
        card: dict[str, Any] = self.record.get("card", {})
        return card

    @property
    def run_dir(self) -> Path:
        """The run's folder, where one was named."""
        return self.path.absolute().parents[1]

    @property
    def label(self) -> str:
        """What it renders, in a word or two: the phase's result, or the mean of several networks' renderings."""
        phase: str = self.record["phase"]
        run = (self.config.get("schedule") or {}).get("run") or [phase]
        if not self.network.renders or cast("BokehNetwork", self.network).averages == 1 or phase not in run:
            return phase
        mean = f"mean of {cast('BokehNetwork', self.network).averages}"
        return mean if phase == run[-1] else f"{mean} after {phase}"

    @property
    def f_number(self) -> float | None:
        """Full-frame f-number at which its targets were taken, as its card or its data say; None where neither does."""
        if number := self.card.get("f_number"):
            return float(number)
        node = self.config.get("data")
        try:
            kind: Any = next(classes_in(node, f"{self.path}: data", DATA)) if isinstance(node, Mapping) else None
        except RequestError:  # somebody's own data set, which is not needed for rendering
            return None
        return None if kind is None else kind.f_number(node)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that the network was trained at."""
        height, width = self.record["image_size"]
        return height, width


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint that a file, a phase's or run's folder, a model in the box or one on the hub stands for.

    A phase's folder stands for its ``best.ckpt``, a run's folder for the best of the phase that was trained last
    (`lensblend.runs.phase_order`), in a copy of the run as well.

    Raises:
        RequestError: There is nothing of that name, or no checkpoint in it, or several and no word of their order.
        WeightsMissingError: It could not be fetched from the hub.
    """
    if is_address(path):
        return fetched(str(path))
    path = Path(path)
    if path.is_file():
        return path
    if is_model(path):
        return model_file(str(path))
    if not path.exists():
        raise RequestError(f"`checkpoint` {path} does not exist; {_GIVE}")
    if not path.is_dir():
        raise RequestError(f"`checkpoint` {path} is a pipe or device; {_GIVE}")
    if (path / BEST).is_file():
        return path / BEST
    phase = last_phase(path, {file.parent.name for file in path.glob(f"*/{BEST}")})
    if phase is None:
        raise RequestError(f"`checkpoint` {path} is a folder without best.ckpt; {_GIVE}")
    return path / phase / BEST


def load_network(path: str | Path) -> Trained:
    """Rebuild a trained network from a checkpoint, an exported file, a run's or phase's folder, or by its name.

    Raises:
        RequestError: There is no checkpoint at ``path``.
        DataError: The checkpoint is damaged or does not fit the network it names.
    """
    file = find_checkpoint(path)
    content = read_checkpoint(file, mmap=True)  # the optimizer's state is most of it, and not wanted
    record = content[RECORD]
    require(record, file, "image_size", "phase", "config")
    network = rebuild(record["network"], content["state_dict"], file)
    return Trained(network.eval(), record, file, file_sha256(file), is_run=_is_folder(path))


def _is_folder(path: str | Path) -> bool:
    return not is_address(path) and Path(path).is_dir()


def load_ensemble(paths: Sequence[str | Path], load: Callable[[str | Path], Trained] = load_network) -> Trained:
    """Rebuild trained networks that together render one photo, as the mean of what each renders.

    Args:
        paths: Checkpoints, or runs' or phases' folders; a single one is what ``load`` returns.
        load: Loads one.

    Returns:
        The ensemble. Its record is the first member's, with the sources of the maps that any member takes; its path
        is the first member's, and its hash that of all.

    Raises:
        RequestError: There is no path, a network does not render, or the members work at different sizes.
        DataError: A checkpoint is damaged.
    """
    if not paths:
        raise RequestError("`checkpoint` lists one checkpoint at least, but got none.")
    members = [load(path) for path in paths]
    if len(members) == 1:
        return members[0]
    networks = [check_renders(member) for member in members]
    sizes = {str(member.path): member.image_size for member in members}
    if len(set(sizes.values())) > 1:
        raise RequestError(
            f"The members of an ensemble work at one size, but these were trained at {sizes}; evaluate them apart."
        )
    sources = {name: member.config.get(name) for member in reversed(members) for name in member.network.guidance}
    first = members[0]
    config = yaml.safe_dump({**first.config, **sources})
    record = {**first.record, "phase": f"mean of {len(members)}", "config": config}
    digest = hashlib.sha256("".join(member.sha256 for member in members).encode()).hexdigest()
    network = Ensemble(networks).eval()
    return Trained(network, record, first.path, digest, all(member.is_run for member in members))


def check_renders(trained: Trained) -> BokehNetwork:
    """Return a network that renders bokeh; raise `RequestError` of any other."""
    network = trained.network
    if not network.renders:
        raise RequestError(
            f"{trained.path} holds {type(network).__name__}, which estimates {' and '.join(network.estimates)}, not "
            "bokeh: its scores are in its run's metrics.csv, and `lensblend render` shows its maps."
        )
    return cast("BokehNetwork", network)


def parse_config(text: str, path: Path) -> dict[str, Any]:
    """Return the configuration in a checkpoint's record, in the words of this version.

    Raises:
        DataError: It is none.
    """
    config = config_today(parse_yaml(text, f"{path}: config"))
    if not isinstance(config, dict):
        raise DataError(f"{path} is damaged: its `config` is no configuration; use another copy.")
    return config


def start_from(network: Network, start: str | Path | Start) -> tuple[Path, str]:
    """Load the weights that a first phase starts from.

    A depth network's checkpoint gives its backbone to a network that renders by the same one; its own head keeps its
    random weights (Dutta 2021, section 3.2). Any other file than a checkpoint is the authors' own.

    Args:
        network: Receives the weights.
        start: A checkpoint, a run's or a phase's folder, a published file, or an address on the hub; and what is
            wanted of it.

    Returns:
        The file, and what its weights are, to be said before its name.

    Raises:
        RequestError: There is no such file, or a part is wanted of a published one.
        DataError: It is damaged, or does not hold what is wanted.
    """
    start = start if isinstance(start, Start) else Start(str(start))
    path = start.path
    file = find_checkpoint(path) if is_address(path) else Path(path)
    if file.is_file() and not is_checkpoint(file):
        if not start.is_whole:
            raise RequestError(f"{file} is a file of a network's authors, taken whole; give init_from={file} alone.")
        network.load_published(file)
        return file, "the published weights of "
    file = find_checkpoint(file)
    content = read_checkpoint(file)
    state = content["state_dict"]
    if not start.is_whole:
        return file, load_part(network, state, file, start)
    given: Any = next(classes_in(content[RECORD]["network"], f"{file}: network", *MODELS))
    if network.renders and network.depth_trunk is not None and not given.renders and "disparity" in given.estimates:
        trunk = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
        load_weights(network.depth_trunk, trunk, file)
        return file, "the depth weights of "
    load_weights(network, state, file, f"{WHOLE}, or take what fits: init_from.strict=false")
    return file, ""
