"""The models in the box: trained networks that come with the package, found by their names."""

from __future__ import annotations

from pathlib import Path

import lensblend
from lensblend.errors import DataError

FOLDER = Path(lensblend.__file__).parent / "models"
NAMES = ("default",)


def is_model(text: str | Path, base: Path = Path()) -> bool:
    """Tell whether a text names a model in the box; where a file or folder is called so, that one is meant.

    Args:
        text: A name, or a path.
        base: The folder that relative paths are relative to.

    Example:
        >>> is_model("default"), is_model("models/default")
        (True, False)
    """
    return str(text) in NAMES and not (base / text).exists()


def model_file(name: str) -> Path:
    """Return the file of a model in the box.

    Args:
        name: One of ``NAMES``.

    Raises:
        DataError: It did not come with this installation.
    """
    file = FOLDER / f"{name}.safetensors"
    if not file.is_file():
        raise DataError(f"The model `{name}` is missing from this installation ({file}); install lensblend again.")
    return file
