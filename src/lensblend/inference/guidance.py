"""Where the maps come from that guide a network or supervise it: a prior network, files, or the data set itself.

conf/{saliency,disparity,focus} choose a source; it is built only where a network or a loss term asks for its map.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lensblend.data.files import check_map_fits, scan
from lensblend.data.images import read_map, read_map_size
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.transforms import resize_map
from lensblend.errors import DataError, RequestError
from lensblend.inference.onnx_maps import onnx_node
from lensblend.inference.prior_maps import Guide, KeptMap, Track
from lensblend.inference.rendering import to_batch
from lensblend.nn.rendering import Network
from lensblend.ops.focus import HIGH, LOW, SIGMA, focus_from_pair
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


class FromPair(KeptMap):
    """Where the target is as sharp as the photo; see `lensblend.ops.focus.focus_from_pair`.

    For samples of a size, the maps of pairs in files are computed once, by whoever asks for one first, and kept at that
    size in half precision: 2 bytes a pixel. Pairs that are rendered may be others in each epoch, and theirs are not.

    Args:
        name: ``focus``.

    Raises:
        RequestError: Another map is asked for: a photo to be rendered has no target.
    """

    def __init__(self, name: str) -> None:
        if name != "focus":
            raise RequestError(
                f"`{name}` cannot come from photo and target: a photo to be rendered has none; use file."
            )
        super().__init__(name, ["from_pair", LOW, HIGH, SIGMA])

    def prepare(self, pairs: Pairs, marks: Sequence[str], device: torch.device, indices: Track) -> None:
        """Leave the maps to the reading processes: no network computes them."""

    def size_for(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """Return the photo's size."""
        return photo_size

    def content(self, pair: Pair) -> Iterable[NDArray[np.uint8]]:
        """Return photo and target."""
        return pair.photo, pair.captured()

    def __call__(self, pair: Pair) -> NDArray[np.float32]:
        """Return the map at the photo's size, in [0, 1]."""
        return self.compute(pair)

    def at(self, pair: Pair, image_size: tuple[int, int], stamp: Hashable | None = None) -> NDArray[np.float32]:
        """Return the map at another size, in [0, 1]; kept where the pair has a stamp."""

        def resized() -> NDArray[np.float32]:
            return resize_map(self.compute(pair), image_size)

        if stamp is None:
            return resized()
        height, width = image_size
        return self.kept(f"{self.named(pair, stamp)}-{height}x{width}", image_size, resized)

    def compute(self, pair: Pair) -> NDArray[np.float32]:
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
