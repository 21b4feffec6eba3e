"""Networks out of the files of their authors, which say nothing of the network that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lensblend.errors import DataError, RequestError
from lensblend.nn.rendering import Network
from lensblend.runs.checkpoint_files import is_checkpoint
from lensblend.runs.checkpoints import Trained, describe, without_weights
from lensblend.runs.files import file_sha256
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS

PHASE = "released"
# Keys of a configuration that say what a network takes and what it is; how it would be trained, its authors know.
_KEPT = ("name", "kernels", "backbone", "model", "saliency", "disparity")


def load_released(path: str | Path, baseline: str, config: Mapping[str, Any]) -> Trained:
    """Build a network with the weights of its authors' file.

    Args:
        path: The file.
        baseline: What the network is called, for messages.
        config: The network's own: ``model``, the sources of its maps, and a schedule, at whose last phase's size it
            works.

    Returns:
        The network, as out of a checkpoint of a phase ``released`` that was trained on no data.

    Raises:
        RequestError: There is no such file, it is a checkpoint of this project, or the network reads no files of its
            authors'.
        DataError: The file does not hold the whole network, and nothing else.
    """
    file = Path(path)
    if not file.is_file():
        state = "is no file" if file.exists() else "does not exist"
        raise RequestError(f"{path} {state}; with `network`, name the file of {baseline}'s authors.")
    if is_checkpoint(file):
        raise RequestError(
            f"{path} is a checkpoint of this project, which says itself what it holds; leave `network` out."
        )
    node = without_weights(config["model"])
    network: Network = build(node, "model", *MODELS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
    network.load_published(file)
    left = [name for name, parameter in network.named_parameters() if parameter.isnan().any()]
    if left:
        raise DataError(
            f"{file} holds a part of {baseline} only: {len(left)} of its weights are not in it (first: {left[0]}); "
            "give the file of the whole network. A training may start from a part: init_from=FILE."
        )
    kept = {key: without_weights(config[key]) for key in _KEPT if key in config}
    size = config["schedule"]["phases"][config["schedule"]["run"][-1]]["image_size"]
    parent = {"path": str(file), "sha256": file_sha256(file)}
    record = describe(node, PHASE, size, kept, parent)
    return Trained(network.eval(), record, file, parent["sha256"])
