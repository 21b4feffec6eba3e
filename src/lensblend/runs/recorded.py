"""What is built of a checkpoint's record, which may be of unknown origin: its network, and data that reads no files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from lensblend.data.pairs import Source
from lensblend.errors import DataError, LensblendError, RequestError
from lensblend.nn.rendering import Network
from lensblend.runs.instantiate import build, build_recorded, classes_in, refuse_positional
from lensblend.runs.roles import DATA, GENERATED_DATA, MODELS, plays
from lensblend.runs.weights import check_fits, load_weights

_DRAWING = (Tensor.normal_, nn.init.normal_)
_MOST_PARTS = 10_000  # modules in modules; the largest published network here has under 2,000
# A network may take more memory than its weights in the file: those may be halved in precision, buffers are not kept.
_FACTOR, _ALLOWANCE = 4, 64 * 2**20


def rebuild(node: Any, state: Mapping[str, Tensor], file: Path) -> Network:
    """Build the network that a checkpoint describes, with its weights.

    It is first built without memory for its weights, to see whether those of the file fit; a record that asks for a
    network of terabytes costs nothing.

    Args:
        node: The record's ``network``.
        state: The file's weights.
        file: The checkpoint, for messages.

    Raises:
        RequestError: The record names what may not be built from a checkpoint.
        DataError: The weights are another network's.
    """
    where = f"{file}: network"
    with _placed(where, file):
        outline = sketch(node, where)
    check_fits(outline, state, file)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in state.values()}
    held = sum(storages.values())
    asked = sum(t.numel() * t.itemsize for tensors in (outline.parameters(), outline.buffers()) for t in tensors)
    if asked > _FACTOR * held + _ALLOWANCE:
        raise DataError(f"{file} is damaged: it describes a network of {asked:,} bytes, but holds {held:,} of weights.")
    network: Network = build_recorded(node, where, *MODELS)
    load_weights(network, state, file)
    elsewhere = [name for name, tensor in network.state_dict().items() if tensor.device.type != "cpu"]
    if elsewhere:
        raise RequestError(f"`{where}` puts its weight `{elsewhere[0]}` on another device; it is built on the CPU.")
    return network


def recorded_data(config: Mapping[str, Any], source: Path, is_run: bool) -> Source:
    """Build the data set that a network was trained on.

    Args:
        config: The configuration that says so.
        source: Where it stands, for messages.
        is_run: Whether the user named the run's folder, whose data set may lie in files. A single file may be of
            unknown origin, and does not choose what is read here.

    Raises:
        RequestError: There is none, it may not be built, or it reads files that a single checkpoint names.
    """
    node = config.get("data")
    if not isinstance(node, Mapping):
        raise RequestError(f"{source} does not say on which data set it was trained; name one: data=...")
    where = f"{source}: data"
    reading = [kind for kind in classes_in(node, where, DATA) if not plays(kind, GENERATED_DATA)]
    if reading and not is_run:
        raise RequestError(
            f"{source} was trained on files ({reading[0].__name__}), which a single checkpoint does not choose here: "
            "name the data set (data=...), or give the run's folder instead of the file."
        )
    # Where rendered pairs are kept is this machine's own affair.
    refuse_positional(node, where)
    node = without_caches(node)
    with _placed(where, source):
        source_of_pairs: Source = build(node, where, DATA)
    return source_of_pairs


def without_caches(node: Any) -> Any:
    """Return a data set's node, and those of the data sets in it, without the folders in which they keep pairs."""
    if isinstance(node, list | tuple):
        return [without_caches(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    return {key: without_caches(value) for key, value in node.items() if key != "cache"}


@contextmanager
def _placed(where: str, file: Path) -> Iterator[None]:
    """Say in which file something stands; a constructor's own message does not know."""
    try:
        yield
    except LensblendError as error:
        if str(file) in str(error):
            raise
        raise type(error)(f"`{where}`: {error}") from None


def sketch(node: Any, where: str) -> Network:
    """Build the network that a record describes without memory for its weights.

    Args:
        node: The record's ``network``.
        where: Its place, for messages.

    Raises:
        RequestError: It may not be built from a checkpoint, or has no end.
    """
    with torch.device("meta"), _Undrawn(), _Count(where):
        network: Network = build_recorded(node, where, *MODELS)
    return network


class _Undrawn(TorchFunctionMode):
    """Draw no normal numbers for weights without memory: for that PyTorch loads its compiler, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call what is called, but for what draws."""
        kwargs = kwargs or {}
        if func in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class _Count:
    """Refuse to go on for ever: a number in the record may say how often a part is repeated."""

    def __init__(self, where: str) -> None:
        self._where, self._count = where, 0

    def __call__(self, *registered: object) -> None:
        """Count one more part."""
        self._count += 1
        if self._count > _MOST_PARTS:
            raise RequestError(f"`{self._where}` describes a network of more than {_MOST_PARTS:,} parts.")

    def __enter__(self) -> None:
        self._hook = register_module_module_registration_hook(self)

    def __exit__(self, *error: object) -> None:
        self._hook.remove()
