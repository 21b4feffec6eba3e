"""Where the maps come from that guide a network or supervise it: a prior network, files, or the data set itself.

conf/{saliency,disparity,focus} choose a source; it is built only where a network or a loss term asks for its map.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lensblend.data.files import check_map_fits, raise_all, scan
from lensblend.data.images import read_map, read_map_size
from lensblend.data.pairs import Pair, Pairs, Source, Split
from lensblend.data.transforms import resize_map
from lensblend.errors import DataError, RequestError
from lensblend.inference.onnx_maps import onnx_node
from lensblend.inference.prior_maps import Guide
from lensblend.inference.rendering import to_batch
from lensblend.nn.rendering import Network
from lensblend.ops.focus import focus_from_pair
from lensblend.runs.checkpoints import Trained, without_weights
from lensblend.runs.instantiate import OPENING, build, classes_in
from lensblend.runs.roles import MAP_SOURCE, MODELS

# The map of a data set that is taken for one of another name.
STAND_INS = {"saliency": "mask", "focus": "mask"}
# What data sets know by themselves, and a network or a loss may not need.
KNOWN = ("mask", "disparity")


class Truth(Guide):
    """What the data set itself knows: its masks as saliency and as focus, any other map under its own name.

    Args:
        name: ``saliency``, ``focus``, ``disparity`` or another.
    """

    identity = "truth"

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map at the photo's size, in [0, 1].

        Raises:
            DataError: The pair has none.
        """
        part = STAND_INS.get(self.name, self.name)
        if (known := pair.maps.get(part)) is None:
            raise DataError(
                f"`{pair.id}` has no {part}, from which `{self.name}=truth` is to come; take the maps from files "
                f"({self.name}=file {self.name}.folder=DIR) or from a prior network; for one photo, "
                f"`lensblend render --{self.name} SOURCE`."
            )
        return known.astype(np.float32)

    def problems(self, pairs: Pairs, count: int | None = None) -> list[str]:
        """Say what is wrong with the data set's maps."""
        return pairs.map_problems(STAND_INS.get(self.name, self.name), count)


class FromPair(Guide):
    """Where the target is as sharp as the photo; see `lensblend.ops.focus.focus_from_pair`.

    Args:
        name: ``focus``.

    Raises:
        RequestError: Another map is asked for: a photo to be rendered has no target.
    """

    identity = "from_pair"

    def __init__(self, name: str) -> None:
        if name != "focus":
            raise RequestError(
                f"`{name}` cannot come from photo and target: a photo to be rendered has none; use file."
            )

    def __call__(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map at the photo's size, in [0, 1]."""
        photo, target = (to_batch(image, torch.device("cpu")) for image in (pair.photo, pair.captured()))
        return focus_from_pair(photo, target)[0, 0].numpy()


class MapFiles(Guide):
    """Maps in a folder, each named like its photo: PNG and other images (white = 1), or NPY of values in [0, 1].

    Args:
        name: ``saliency``, ``disparity`` or ``focus``.
        folder: Holds them.
    """

    def __init__(self, name: str, folder: str) -> None:
        if not Path(folder).is_dir():
            raise RequestError(f"`{name}.folder` = `{folder}` is not a folder; name the folder of the maps.")
        self.name, self.folder = name, folder
        self.identity = str(Path(folder).resolve())
        self._files = scan(Path(folder), lambda file: Path(file).stem)

    def __call__(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map, resized to the photo's size.

        Raises:
            DataError: The photo has no map, or several, or it leaves [0, 1].
        """
        file = self._file(pair.id)
        values = read_map(file)
        if values.min() < 0 or values.max() > 1:
            raise DataError(
                f"`{file}` holds values from {values.min():g} to {values.max():g}, but {self.name} is in [0, 1]; "
                "scale them."
            )
        height, width = pair.photo.shape[:2]
        check_map_fits(file, (values.shape[0], values.shape[1]), pair.id, (height, width))
        return resize_map(values, (height, width))

    def problems(self, pairs: Pairs, count: int | None = None) -> list[str]:
        """Name the photos without a map, and the maps that cannot be read or are of another shape."""
        problems = []
        for index, name in enumerate(pairs.ids[:count]):
            try:
                file = self._file(name)
                map_size, photo_size = read_map_size(file), pairs.size(index)
                if photo_size is not None:
                    check_map_fits(file, map_size, name, photo_size)
            except DataError as error:
                problems.append(str(error))
        return problems

    def _file(self, name: str) -> Path:
        files = self._files.get(name, [])
        if len(files) != 1:
            raise DataError(
                f"`{name}` needs one {self.name} map in `{self.folder}`, but there are {len(files)}; "
                f"name it {name}.png or {name}.npy."
            )
        return files[0]


class Guided(Pairs):
    """Pairs with the maps that were asked for.

    Args:
        pairs: The pairs.
        guides: Sources of maps by name.
        dropped: Maps of the pairs that are left behind, unread where they lie in files; other maps stay.
    """

    def __init__(self, pairs: Pairs, guides: Mapping[str, Guide], dropped: Collection[str] = ()) -> None:
        self.ids, self._pairs, self._guides, self._dropped = pairs.ids, pairs, guides, dropped

    def sized(self, image_size: tuple[int, int]) -> Guided:
        """Return the pairs as they are rendered for samples of a size."""
        return Guided(self._pairs.sized(image_size), self._guides, self._dropped)

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Return one pair with its maps."""
        pair = self._pairs.load(index, epoch)
        kept = {name: pair.maps[name] for name in pair.maps if name not in self._dropped and name not in self._guides}
        return replace(pair, maps={**kept, **{name: guide(pair) for name, guide in self._guides.items()}})


class GuidedSource(Source):
    """A data set whose pairs carry the maps that were asked for.

    Args:
        source: The data set.
        guides: By the map's name.
        dropped: Maps of the data set's own that nothing needs.
    """

    def __init__(self, source: Source, guides: Mapping[str, Guide], dropped: Collection[str] = ()) -> None:
        self._source, self._guides, self._dropped, self.endless = source, guides, dropped, source.endless

    def split(self, name: Split) -> Guided:
        """Return the pairs of one split."""
        return Guided(self._source.split(name), self._guides, self._dropped)

    def prepare(
        self,
        key: str,
        limits: Mapping[Split, int | None],
        device: torch.device,
        track: Callable[[Iterable[int], str], Iterable[int]],
    ) -> None:
        """Compute what networks have not yet computed, before reading processes would do so one by one on the CPU.

        Args:
            key: Names the data set; one that has been gone through before is not again.
            limits: Use only the first pairs of a split.
            device: Where networks compute; afterwards they are on the CPU.
            track: Shows how far it is.

        Raises:
            DataError: Maps are missing, cannot be read or do not fit their photos; all of them are listed.
        """
        if self._source.endless:
            return
        for split, limit in limits.items():
            check_guides(self._guides, self._source.split(split), limit)
        for name, guide in self._guides.items():
            for split, limit in limits.items():
                pairs = self._source.split(split)
                if count := min(len(pairs.ids), limit or len(pairs.ids)):
                    indices = partial(track, range(count), f"{name.capitalize()} of the {split} split")
                    guide.prepare(pairs, f"{split}-{count}-{key[:16]}", device, indices)


def give_maps(
    source: Source,
    nodes: Mapping[str, Any],
    key: str,
    device: torch.device,
    track: Callable[[Iterable[int], str], Iterable[int]],
    splits: Collection[Split] = ("train", "val"),
) -> None:
    """Give a data set that makes pairs of photos alone the maps of these that it asks for.

    Args:
        source: The data set.
        nodes: The configuration's nodes by the maps' names.
        key: Names the data set; one that has been gone through before is not again.
        device: Where networks compute.
        track: Shows how far it is.
        splits: Those that will be drawn from.
    """
    guides = build_guides(source.asks, nodes)
    for name, guide in guides.items():
        for split in splits:
            photos = source.photos_of(split)
            raise_all(guide.problems(photos), f"the {name} maps")
            indices = partial(track, range(len(photos.ids)), f"{name.capitalize()} of the {split} photos")
            guide.prepare(photos, f"{split}-photos-{key[:16]}", device, indices)
    source.receive(guides)


def check_guides(guides: Mapping[str, Guide], pairs: Pairs, count: int | None = None) -> None:
    """Check the maps of all pairs before the first is used.

    Args:
        guides: Sources of maps by name.
        pairs: Whose maps are needed.
        count: Of how many pairs; None for all.

    Raises:
        DataError: Maps are missing, cannot be read or do not fit their photos; all of them are listed.
    """
    for name, guide in guides.items():
        raise_all(guide.problems(pairs, count), f"the {name} maps")


def guidance_of(node: Any, where: str) -> tuple[str, ...]:
    """Return the maps that a network's node asks for, with those of the networks within it, each once."""
    declared = [kind.guidance for kind in classes_in(node, where, *MODELS) if issubclass(kind, Network)]
    return tuple(dict.fromkeys(name for names in declared for name in names))


def build_guides(names: Iterable[str], nodes: Mapping[str, Any]) -> dict[str, Guide]:
    """Build the sources of the maps that are needed.

    Args:
        names: Of ``saliency``, ``disparity`` and ``focus``.
        nodes: The configuration's nodes by these names.

    Raises:
        RequestError: A source is not configured.
        WeightsMissingError: A prior's weights are not here.
    """
    guides: dict[str, Guide] = {}
    for name in names:
        node = nodes.get(name)
        if not node:
            raise RequestError(f"`{name}` is needed, but no source is set: use {name}=truth, file or a network's name.")
        guides[name] = build(node, name, MAP_SOURCE, name=name)
    return guides


def guides_of(trained: Trained, instead: Mapping[str, Any] | None = None) -> dict[str, Guide]:
    """Build the sources of the maps that a trained network takes: as in its training, or others instead.

    Args:
        trained: The network and what its checkpoint says.
        instead: By map: a node of the configuration; or, as text, a folder of maps, an ONNX network
            (`lensblend.inference.onnx_maps.onnx_node`), or the weights of the prior network of the training, a file or
            a run's folder.
    """
    nodes = {}
    names = trained.network.guidance
    for name in names:
        node, other = trained.config.get(name) or {}, (instead or {}).get(name)
        if not isinstance(node, dict):
            raise DataError(f"{trained.path} is damaged: its configuration's `{name}` is no source of maps.")
        if not trained.is_run:
            if not other:
                _refuse_files(name, node, trained.path)
            node = without_weights(node)
        nodes[name] = _source_node(name, node, other) if isinstance(other, str) else other or node
    return build_guides(names, nodes)


def _refuse_files(name: str, node: Mapping[str, Any], path: Path) -> None:
    """Refuse maps whose source a checkpoint of unknown origin would choose among the files of this machine."""
    named = [key for key in ("folder", "path", *OPENING) if node.get(key)]
    if named:
        raise RequestError(
            f"{path} was trained with {name} from {node[named[0]]!r}, which a single file does not decide here: name a "
            f"source (`lensblend render --{name} SOURCE`, `lensblend evaluate {name}=...`), or give the run's folder "
            "instead of the file."
        )


def _source_node(name: str, node: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """Return the node of a source that a command line names by one path."""
    if onnx := onnx_node(name, source, dict(node)):
        return onnx
    path = Path(source)
    if path.is_dir() and not any(path.glob("**/best.ckpt")):
        return {"_target_": "lensblend.inference.guidance.MapFiles", "folder": source}
    if "network" not in node:
        raise RequestError(
            f"`--{name} {source}` names weights, but the network was trained with {name} that no prior network gave; "
            "name a folder of maps, or a network as FILE.onnx."
        )
    return {**node, "weights": source}
