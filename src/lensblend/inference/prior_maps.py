"""Saliency and disparity of photos by prior networks, computed once per photo and kept."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensblend.caches import Cache, cache_folder, expanded
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.regular_files import open_regular
from lensblend.data.sizes import check_image_size, turned
from lensblend.data.transforms import resize_lanczos, resize_map
from lensblend.errors import DataError, RequestError, StorageError, WeightsMissingError, one_of
from lensblend.inference.rendering import device_of, explained, to_batch
from lensblend.nn.rendering import Network, Rendering
from lensblend.ops.stretching import NORMS
from lensblend.priors.depth_network import inverse_depth
from lensblend.runs.checkpoint_files import is_checkpoint
from lensblend.runs.checkpoints import load_network
from lensblend.runs.files import file_sha256
from lensblend.storage import write_atomically

FORMAT = 2
Track = Callable[[], Iterable[int]]
_LARGEST = 2**28  # bytes of a kept map


class Guide(ABC):
    """A source of one map per photo.

    Attributes:
        identity: Tells it from sources that give other maps.
    """

    identity: str

    @abstractmethod
    def __call__(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map at the photo's size, in [0, 1]."""

    def at(self, pair: Pair, image_size: tuple[int, int], stamp: Hashable | None = None) -> NDArray[np.float32]:
        """Return the map at another size, in [0, 1].

        Args:
            pair: The pair.
            image_size: (height, width) of samples.
            stamp: What `lensblend.data.pairs.Pairs.stamp` says of the pair: while it stays, so do its pixels.
        """
        return resize_map(self(pair), image_size)

    def problems(self, pairs: Pairs, count: int | None = None) -> list[str]:
        """Say what is wrong with the maps of the first pairs, as far as that is known before they are made or read."""
        return []

    def move_to(self, device: torch.device) -> None:  # noqa: B027
        """Move the network to where it is to compute, if there is one that can be moved."""

    def prepare(self, pairs: Pairs, marks: Sequence[str], device: torch.device, indices: Track) -> None:  # noqa: B027
        """Compute the maps that are not there yet; a source that computes none has nothing to do.

        Args:
            pairs: Pairs that will be asked for.
            marks: Names of sets that those of ``indices`` are in, they alone last; a set that has been gone through is
                not again.
            device: Where a network computes; afterwards it is on the CPU.
            indices: Begins to show how far it is, and returns the pairs' indices.
        """


class KeptMap(Guide):
    """Maps that a network computes, once per photo.

    A map is kept at the network's size, in half precision, in ``$LENSBLEND_CACHE/guidance`` (by default
    ``~/.cache/lensblend/guidance``), under the hash of the photo's pixels and of what decides the map.

    Args:
        name: ``saliency``, ``disparity``, or ``focus``, for which saliency stands in.
        recipe: What decides the map: the network, the hash of its weights, options; plain values.
    """

    def __init__(self, name: str, recipe: Sequence[Any]) -> None:
        self.name = name
        self.identity = hashlib.sha256(json.dumps([FORMAT, *recipe]).encode()).hexdigest()[:16]
        self.cache = Cache(cache_folder("guidance"), self.identity)
        self._names: dict[Hashable, str] = {}

    @abstractmethod
    def size_for(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of the map of a photo."""

    @abstractmethod
    def compute(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map of a photo in [0, 1], of the size that `size_for` says.

        Raises:
            DataError: There is none: it is not finite, say.
        """

    def prepare(self, pairs: Pairs, marks: Sequence[str], device: torch.device, indices: Track) -> None:
        """Compute the maps; reading processes would do so one by one on the CPU."""
        done = [self.cache.folder / f"{mark}.done" for mark in marks]
        if any(file.is_file() for file in done):
            return
        self.move_to(device)
        for index in indices():
            self(pairs.load(index))
        self.move_to(torch.device("cpu"))
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the training needs it
        with contextlib.suppress(StorageError):
            write_atomically(done[-1], "")

    def __call__(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map, enlarged bilinearly to the photo's size."""
        height, width = pair.photo.shape[:2]
        return self.at(pair, (height, width))

    def at(self, pair: Pair, image_size: tuple[int, int], stamp: Hashable | None = None) -> NDArray[np.float32]:
        """Return the map, resized from the network's size at once, not by way of the photo's."""
        height, width = pair.photo.shape[:2]
        kept = self.kept(self.named(pair, stamp), self.size_for((height, width)), lambda: self.compute(pair))
        return resize_map(kept, image_size)

    def content(self, pair: Pair) -> Iterable[NDArray[np.uint8]]:
        """Return the pixels that decide a map."""
        return (pair.photo,)

    def named(self, pair: Pair, stamp: Hashable | None) -> str:
        """Return the name of what is kept of a pair, a hash of its pixels; found once for each stamp."""
        if stamp is not None and stamp in self._names:
            return self._names[stamp]
        digest = hashlib.sha256()
        for image in self.content(pair):
            digest.update(image.tobytes())
        name = digest.hexdigest()[:24]
        if stamp is not None:
            self._names[stamp] = name
        return name

    def kept(self, name: str, size: tuple[int, int], make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return a map of a size that is kept under a name; where it is not, make and keep it."""
        half = self.cache.read(lambda folder: _read(folder / f"{name}.npy", size))
        if half is None:
            half = make().astype(np.float16)
            content = io.BytesIO()
            np.save(content, half)
            with contextlib.suppress(StorageError):  # a full or read-only disk costs only the cache
                write_atomically(self.cache.folder / f"{name}.npy", content.getvalue())
        return half.astype(np.float32)


class NetworkMap(KeptMap):
    """Maps that a prior network of this project computes.

    Args:
        name: ``saliency``, ``disparity``, or ``focus``, for which saliency stands in.
        network: A network of `lensblend.priors`.
        weights: Its weights: a checkpoint or a run's folder of this project, whose network takes the place of
            ``network``, or the file that the network's authors published.
        published_size: Height and width to which a photo is resized for published weights.
        image_size: The same for any weights; None takes the size at which a checkpoint was trained, or else
            ``published_size``.
        norm: ``none`` takes a map as it is; ``minmax`` stretches each to [0, 1], at the network's size.

    Raises:
        WeightsMissingError: ``weights`` names nothing.
        RequestError: The network of a checkpoint estimates something else.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        weights: str | None,
        published_size: Sequence[int],
        image_size: Sequence[int] | None = None,
        norm: str = "none",
    ) -> None:
        self._norm = NORMS[one_of("norm", norm, NORMS)]
        self._estimate = "saliency" if name == "focus" else name
        if weights is None:
            raise WeightsMissingError(
                f"{name.capitalize()} is to come from {type(network).__name__}, whose weights are not set: give "
                f"`{name}.weights`, a checkpoint or run's folder that `lensblend train` wrote or the authors' file; or "
                f"another source: {name}=file {name}.folder=DIR, or {name}=truth where the data set knows it."
            )
        self.network, file, trained_size = _with_weights(network, weights, name)
        self.image_size = check_image_size(image_size or trained_size or published_size)
        if self._estimate not in self.network.estimates:
            raise RequestError(
                f"`{name}.weights` = {weights} holds {type(self.network).__name__}, which does not estimate "
                f"{self._estimate}; "
                "give the checkpoint of a network that does."
            )
        self.network.eval().requires_grad_(False)
        recipe = [self._estimate, type(self.network).__name__, file_sha256(file), *self.image_size, norm]
        super().__init__(name, recipe)

    def size_for(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """Return the network's size, turned like the photo."""
        return turned(self.image_size, photo_size)

    def move_to(self, device: torch.device) -> None:
        """Move the network."""
        self.network.to(device)

    def compute(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map of a photo."""
        estimated = estimate(self.network, pair.photo, self.image_size)[self._estimate]
        small = self._norm(torch.from_numpy(estimated)[None, None])[0, 0].numpy()
        if not np.isfinite(small).all():
            raise DataError(
                f"{type(self.network).__name__} finds no finite {self.name} for `{pair.id}`; train it longer, or "
                f"choose another `{self.name}.image_size` than {list(self.image_size)}."
            )
        return small


@torch.inference_mode()
def estimate(network: Network, photo: NDArray[np.uint8], image_size: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
    """Estimate maps of a photo with a prior network.

    Args:
        network: In evaluation mode; one that renders bokeh also estimates what is among its intermediates.
        photo: 8-bit sRGB, ``(h, w, 3)``.
        image_size: Height and width to which it is resized with Lanczos; turned, where it stands and the photo lies,
            or the other way round.

    Returns:
        By name, at the network's size: ``saliency`` as a probability, ``disparity`` as inverse depth over its maximum.
    """
    device, image_size = device_of(network), turned(image_size, photo.shape[:2])
    answer = explained(network, to_batch(resize_lanczos(photo, image_size), device))
    maps = estimates(answer.aux if isinstance(answer, Rendering) else answer)
    return {name: plane[0, 0].float().cpu().numpy() for name, plane in maps.items()}


def estimates(answer: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the maps in what a network answers, by name, ``(b, 1, h, w)`` in [0, 1]."""
    maps = {}
    if "saliency_logits" in answer:
        maps["saliency"] = torch.sigmoid(answer["saliency_logits"])
    if "log_depth" in answer:
        maps["disparity"] = inverse_depth(answer["log_depth"])
    return maps


def _with_weights(network: Network, weights: str, name: str) -> tuple[Network, Path, tuple[int, int] | None]:
    path = expanded(weights)
    if path.is_dir() or is_checkpoint(path):
        trained = load_network(path)
        return trained.network, trained.path, trained.image_size
    if not path.is_file():
        raise WeightsMissingError(f"`{name}.weights` = {weights} does not exist; correct the path.")
    if path.suffix.lower() == ".onnx":
        raise RequestError(f"`{name}.weights` = {weights} is an ONNX network: use {name}=onnx {name}.path={weights}.")
    network.load_published(path)
    return network, path, None


def _read(file: Path, image_size: tuple[int, int]) -> NDArray[np.float16] | None:
    """Read a kept map; None if there is none, or a damaged one (it is computed again)."""
    try:
        with open_regular(file) as stream:
            values = np.load(io.BytesIO(stream.read(_LARGEST)), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return cast("NDArray[np.float16]", values) if values.shape == image_size and values.dtype == np.float16 else None
