"""Checkpoints that rebuild their network alone, written so that a crash never leaves half of one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import nn

import lensblend
from lensblend.errors import DataError, RequestError
from lensblend.training.instantiate import build
from lensblend.training.restoration import RECORD

FORMAT = 1


def describe(network: Mapping[str, Any], phase: str, image_size: list[int], config_yaml: str) -> dict[str, Any]:
    """Return what a checkpoint says of itself: primitives only, so that it loads with ``weights_only=True``.

    Args:
        network: The network's node of the configuration, as plain dicts.
        phase: The phase that trained it.
        image_size: Height and width the phase trained at.
        config_yaml: The whole configuration, as text.
    """
    return {
        "format": FORMAT,
        "network": _without_weights(network),
        "phase": phase,
        "image_size": list(image_size),
        "config": config_yaml,
        "versions": {
            "lensblend": lensblend.__version__,
            "torch": str(torch.__version__),
            "lightning": version("pytorch-lightning"),
        },
    }


def _without_weights(node: Any) -> Any:
    """Leave out the files that a network's parts started from: a checkpoint holds their weights itself."""
    if isinstance(node, Mapping):
        return {key: None if key == "weights" else _without_weights(value) for key, value in node.items()}
    return [_without_weights(value) for value in node] if isinstance(node, list) else node


@dataclass(frozen=True)
class Trained:
    """A network out of a checkpoint.

    Attributes:
        network: With its weights, in evaluation mode, on the CPU.
        record: What the checkpoint says of itself, see :func:`describe`.
        path: The file it came from.
        sha256: The file's hash.
    """

    network: nn.Module
    record: dict[str, Any]
    path: Path
    sha256: str

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that the network was trained at."""
        height, width = self.record["image_size"]
        return height, width


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint that a file, a phase's folder or a run's folder stands for.

    A phase's folder stands for its ``best.ckpt``, a run's folder for the best of the phase that was trained last.

    Raises:
        RequestError: There is nothing of that name, or no checkpoint in it.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise RequestError(f"`checkpoint` {path} does not exist; give a .ckpt file or a run's folder.")
    direct = path / "best.ckpt"
    found = [direct] if direct.is_file() else sorted(path.glob("*/best.ckpt"), key=lambda p: p.stat().st_mtime_ns)
    if not found:
        raise RequestError(f"`checkpoint` {path} is a folder without best.ckpt; give a .ckpt file or a run's folder.")
    return found[-1]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project without running anything in it.

    Raises:
        DataError: The file is damaged, of another origin, or of a newer format.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RequestError(f"`checkpoint` {path} does not exist; give a .ckpt file or a run's folder.") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path} cannot be read as a checkpoint ({reason}); it may be damaged or of other origin."
        ) from None
    record = content.get(RECORD) if isinstance(content, dict) else None
    if not isinstance(record, dict) or "network" not in record:
        raise DataError(f"{path} is not a lensblend checkpoint: it does not say which network it holds.")
    if record.get("format", 0) > FORMAT:
        raise DataError(f"{path} has format {record['format']}, newer than {FORMAT}; update lensblend to read it.")
    return content


def load_network(path: str | Path) -> Trained:
    """Rebuild a trained network from a checkpoint, or from a run's or phase's folder.

    Raises:
        RequestError: There is no checkpoint at ``path``.
        DataError: The checkpoint is damaged or does not fit the network it names.
    """
    file = find_checkpoint(path)
    content = read_checkpoint(file)
    network: nn.Module = build(content[RECORD]["network"], f"{file.name}: network")
    load_weights(network, content["state_dict"], file)
    return Trained(network.eval(), content[RECORD], file, file_sha256(file))


def load_weights(network: nn.Module, state: Mapping[str, torch.Tensor], file: Path) -> None:
    """Copy weights into a network, or say in one message how the two differ."""
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or unknown or shapes:
        example = next(iter(missing + unknown + sorted(shapes)))
        raise DataError(
            f"{file} holds another network: {len(missing)} weights are missing, {len(unknown)} are unknown, "
            f"{len(shapes)} have another shape (first: {example}); "
            "use the backbone, kernels and model it was trained with."
        )
    network.load_state_dict(dict(state))


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class AtomicCheckpointIO(CheckpointIO):
    """Write beside the target, flush to disk, then rename: a reader sees the old file or the new one, never a part."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint atomically."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load a checkpoint; whatever ``weights_only`` says, nothing in it is run."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)
