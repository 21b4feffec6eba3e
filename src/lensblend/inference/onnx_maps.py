"""Saliency and disparity of photos by any exported network: an ONNX file, and what its numbers mean."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensblend.caches import expanded
from lensblend.data.pairs import Pair
from lensblend.data.sizes import check_image_size, turned
from lensblend.data.transforms import resize_lanczos, resize_map
from lensblend.errors import DataError, RequestError, WeightsMissingError, one_of
from lensblend.inference.prior_maps import KeptMap
from lensblend.priors.onnx_network import OnnxNetwork
from lensblend.priors.onnx_presets import PRESETS, presets_of, recognised
from lensblend.runs.files import file_sha256

SUFFIX = ".onnx"
ACTIVATIONS = ("none", "sigmoid", "minmax")
# What an output may hold, by the map that is made of it.
HOLDS = {"saliency": ("saliency",), "disparity": ("disparity", "depth")}
_FACTS = ("mean", "std", "activation", "holds")
_SLACK = 1e-2  # by which the rounding of 8-bit weights may leave [0, 1]


class OnnxMap(KeptMap):
    """Maps that a network in an ONNX file computes on the CPU, once per photo.

    The facts of known networks come from a preset, each replaced where it is given; of any other, ``mean``, ``std``,
    ``activation`` and ``holds`` must be given.

    Args:
        name: ``saliency``, ``disparity``, or ``focus``, for which saliency stands in.
        path: The file.
        preset: A name in `lensblend.priors.onnx_presets.PRESETS`; None recognises some by the file's name.
        image_size: Height and width to which a photo is resized, turned like the photo, where the graph leaves them
            open.
        mean: Subtracted from the photo in [0, 1], RGB; one number or three.
        std: The difference is divided by it; one number or three.
        output: Name of the output that holds the map, or its number.
        activation: ``none``, ``sigmoid`` for logits, or ``minmax``, which stretches each map to [0, 1].
        holds: What the output holds: ``saliency``; ``disparity``, which is inverse depth, larger = nearer, and is
            divided by its maximum; or ``depth``, larger = farther, whose inverse is.

    Raises:
        WeightsMissingError: There is no such file.
        RequestError: A fact is missing or wrong, or onnxruntime is not installed.
        DataError: The file is no network of one RGB photo.
    """

    def __init__(
        self,
        name: str,
        path: str,
        preset: str | None = None,
        image_size: Sequence[int] | None = None,
        mean: float | int | Sequence[float | int] | None = None,
        std: float | int | Sequence[float | int] | None = None,
        output: str | int = 0,
        activation: str | None = None,
        holds: str | None = None,
    ) -> None:
        estimates = "saliency" if name == "focus" else name
        file = expanded(path)
        if not file.exists():
            raise WeightsMissingError(f"`{name}.path` = {path} does not exist; correct the path.")
        sha256 = _sha256(file)
        given = {"mean": mean, "std": std, "activation": activation, "holds": holds}
        facts = _facts(name, estimates, file, preset, {key: value for key, value in given.items() if value is not None})
        self._activation = one_of("activation", facts["activation"], ACTIVATIONS)
        self._holds = one_of("holds", facts["holds"], HOLDS[estimates])
        if self._holds == "depth" and self._activation != "none":
            raise RequestError(f"`activation` is {self._activation!r}, but depth is inverted as it is: use none.")
        size = check_image_size(image_size) if image_size else None
        self.network = OnnxNetwork(file, facts["mean"], facts["std"], size, facts.get("image_size"), output)
        self.file = file
        values = [facts["mean"], facts["std"], *self.network.image_size]
        super().__init__(name, ["onnx, dequantised", estimates, sha256, output, self._activation, self._holds, *values])

    def size_for(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """Return the network's size, turned like the photo where the graph leaves that open."""
        size = self.network.image_size
        return size if self.network.is_fixed else turned(size, photo_size)

    def compute(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map of a photo in [0, 1], at the network's size."""
        size = self.size_for(pair.photo.shape[:2])
        raw = self.network(resize_lanczos(pair.photo, size))
        if not np.isfinite(raw).all():
            raise DataError(
                f"{self.file} finds no finite {self.name} for `{pair.id}`; see whether mean and std fit it."
            )
        plane = self._disparity(raw) if self._holds != "saliency" else self._saliency(raw)
        return plane if plane.shape == size else resize_map(plane, size)

    def _saliency(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._activation == "minmax":
            return _stretched(raw)
        is_probable = raw.min() >= -_SLACK and raw.max() <= 1 + _SLACK
        if is_probable == (self._activation == "sigmoid"):
            remedy = (
                "minmax or none: there is a sigmoid in the graph" if is_probable else "sigmoid for logits, or minmax"
            )
            raise DataError(
                f"{self.file} gives values from {raw.min():g} to {raw.max():g}, which `activation: {self._activation}` "
                f"does not fit; use {remedy}."
            )
        if self._activation == "none":
            return raw.clip(0, 1)
        return _sigmoid(raw)

    def _disparity(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._activation == "minmax":
            return _stretched(raw)
        if self._activation == "sigmoid":
            raw = _sigmoid(raw)
        least = raw.min()
        if self._holds == "depth" and least <= 0:
            raise DataError(f"{self.file} gives depth down to {least:g}, but it is above 0; is it `holds: disparity`?")
        if least < 0:
            raise DataError(
                f"{self.file} gives disparity down to {least:g}; if it is known but for an offset, use "
                "`activation: minmax`."
            )
        inverse = least / raw if self._holds == "depth" else raw / max(raw.max(), np.finfo(np.float32).tiny)
        return inverse.astype(np.float32)


def onnx_node(name: str, source: str, trained_with: dict[str, Any]) -> dict[str, Any] | None:
    """Return the node of a source that a command line names as ``FILE.onnx`` or ``PRESET:FILE.onnx``; else None.

    Args:
        name: ``saliency`` or ``disparity``.
        source: What the command line says.
        trained_with: The node of the training, whose facts an unknown file takes over where it is an `OnnxMap`'s.

    Raises:
        RequestError: The preset is none, or nothing says what an unknown file's numbers mean.
    """
    if not source.lower().endswith(SUFFIX):
        return None
    preset, colon, path = source.partition(":")
    if not colon or Path(source).exists():
        preset, path = "", source
    target = f"{__name__}.{OnnxMap.__name__}"
    if preset:
        return {"_target_": target, "path": path, "preset": one_of(f"--{name} PRESET:FILE", preset, presets_of(name))}
    if recognised(Path(path).stem, name) is None:
        if trained_with.get("_target_") == target:
            return {**trained_with, "path": path}
        raise RequestError(
            f"Nothing says what {path} takes and gives: name the network, --{name} PRESET:{path} with one of "
            f"{', '.join(presets_of(name))}; or train or evaluate with {name}=onnx, which takes all facts."
        )
    return {"_target_": target, "path": path}


def _facts(name: str, estimates: str, file: Path, preset: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a network: by its preset, and by what is given."""
    if preset is not None and one_of("preset", preset, PRESETS) not in presets_of(estimates):
        raise RequestError(
            f"`{name}.preset` = {preset} estimates {PRESETS[preset].estimates}; for {estimates} there are "
            f"{', '.join(presets_of(estimates))}."
        )
    known = preset or recognised(file.stem, estimates)
    facts = {**(PRESETS[known].facts if known else {}), **given}
    if missing := [f"{name}.{key}" for key in _FACTS if key not in facts]:
        raise RequestError(
            f"{file.name} is no network known by its name: give {name}.preset, one of "
            f"{', '.join(presets_of(estimates))}; or {', '.join(missing)}."
        )
    return facts


def _sha256(file: Path) -> str:
    """Return the hash of a network's file and of the external data beside it, if there is any."""
    beside = sorted(file.parent.glob(f"{glob.escape(file.name)}[._]data*"))
    return "/".join(file_sha256(part) for part in (file, *beside))


def _stretched(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = raw.min(), raw.max()
    return (raw - low) / max(high - low, np.finfo(np.float32).tiny)


def _sigmoid(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sigmoid, without overflow."""
    return np.float32(0.5) + np.float32(0.5) * np.tanh(raw / 2)
