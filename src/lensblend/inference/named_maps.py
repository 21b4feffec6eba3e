"""Maps that one argument names: a file, a folder, an ONNX network, or a network of this project."""

from __future__ import annotations

from pathlib import Path

from lensblend.backbones.hourglass import Hourglass
from lensblend.data.listing import SUFFIXES
from lensblend.errors import RequestError
from lensblend.inference.guidance import MapFiles
from lensblend.inference.onnx_maps import onnx_node
from lensblend.inference.prior_maps import Guide, NetworkMap
from lensblend.priors.depth_network import DepthNetwork
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MAP_SOURCE
from lensblend.storage import real

_MEGADEPTH_SIZE = (384, 512)


class MapFile(MapFiles):
    """One map for one photo, whatever it is called.

    Args:
        name: ``disparity`` or ``focus``.
        file: An image (white = 1), or NPY of values in [0, 1].
    """

    def __init__(self, name: str, file: str | Path) -> None:
        self.name, self.identity = name, str(real(file))
        self._path = Path(file)

    def _file(self, name: str) -> Path:
        return self._path


def named_maps(name: str, source: str, photos: int = 1) -> Guide:
    """Return the source of maps that a command line names.

    Args:
        name: ``disparity``, or ``focus`` for masks of what is in focus.
        source: A map; a folder of maps, named like the photos; ``FILE.onnx`` or ``PRESET:FILE.onnx``; a checkpoint or
            run's folder of this project; for disparity also MegaDepth's published file.
        photos: How many are to be rendered.

    Raises:
        RequestError: There is nothing of that name, or it is one map for several photos.
    """
    if node := onnx_node("saliency" if name == "focus" else name, source, {}):
        return _built(name, node)
    path = Path(source)
    if path.is_dir() and not any(path.glob("**/best.ckpt")):
        return MapFiles(name, source)
    if path.suffix.lower() in (*SUFFIXES, ".npy") and not path.is_dir():
        if not path.is_file():
            raise RequestError(f"`{_flag(name)} {source}` does not exist; correct the path.")
        if photos != 1:
            raise RequestError(
                f"`{_flag(name)} {source}` is the map of one photo, but there are {photos}; name a folder of maps, "
                "each named like its photo."
            )
        return MapFile(name, path)
    return NetworkMap(name, DepthNetwork(Hourglass()), source, _MEGADEPTH_SIZE)


def _built(name: str, node: dict[str, object]) -> Guide:
    guide: Guide = build(node, name, MAP_SOURCE, name=name)
    return guide


def _flag(name: str) -> str:
    return "--focus-mask" if name == "focus" else f"--{name}"
