"""Read files of published weights, without running any code in them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lensblend.errors import DataError, WeightsMissingError, short

# What PyTorch says of an object that it does not build from a file that may hold tensors only.
_OTHER_OBJECT = re.compile(r"Unsupported global: GLOBAL (\S+)")


def read_tensors(path: str | Path, expected: str, key: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a file by name, on the CPU.

    Args:
        path: Local ``.safetensors`` file, or one of `torch.save`. Where tensors lie below a key, as those of a training
            do beside its optimizer's state, the only mapping of names to tensors is taken.
        expected: The file that is wanted, for messages.
        key: Take the tensors under this key, where there is one.

    Raises:
        WeightsMissingError: There is no such file.
        DataError: It is damaged, holds something else than named tensors, or numbers that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsMissingError(
            f'No file "{path}"; download {expected}, or leave it out (`weights: null`) to start from random weights.'
        )
    tensors = _tensors(path, expected, key)
    wrong = not_finite(tensors)
    if wrong:
        raise DataError(
            f'"{path}" holds {len(wrong)} tensors with NaN or infinity (first: {wrong[0]}) and would render nothing; '
            f"give another copy of {expected}."
        )
    return tensors


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity.

    Example:
        >>> not_finite({"a": torch.zeros(2), "b": torch.tensor([1.0, torch.nan]), "c": torch.tensor(1)})
        ['b']
    """
    return [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]


def _tensors(path: Path, expected: str, key: str | None) -> dict[str, Tensor]:
    """Return a file's tensors, whatever their values."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # What was saved before archives were used has none.
        wrong = archive_problem(path) if zipfile.is_zipfile(path) else None
        if wrong is not None:
            raise ValueError(wrong)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in a dozen ways, and torch's message advises to run their code
        if other := _OTHER_OBJECT.search(str(error)):
            raise DataError(
                f'"{path}" holds more than tensors: {short(other[1])}, whose code would have to be run. With the code '
                "that it was saved with, save its weights alone: torch.save(model.state_dict(), FILE)."
            ) from error
        raise DataError(f'"{path}" is damaged, or holds more than tensors; download it again.') from error
    tensors: Any = content.get(key, content) if isinstance(content, Mapping) else None
    if _are_tensors(tensors):
        return dict(tensors)
    parts = tensors if isinstance(tensors, Mapping) else {}
    within = {name: part for name, part in parts.items() if _are_tensors(part) and part}
    if len(within) != 1:
        several = f"holds several: {', '.join(map(short, within))}"
        raise DataError(f'"{path}" {several if within else "is no mapping of names to tensors"}; give {expected}.')
    return dict(next(iter(within.values())))


def _are_tensors(content: Any) -> bool:
    """Tell whether it is a mapping of names to tensors."""
    return isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    )


def archive_problem(path: Path) -> str | None:
    """Return why a file is not an archive as `torch.save` writes it; None if it is one.

    Its members lie in it as they are. Members that are compressed, or share their bytes, could unfold to far more than
    the file's size when they are read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        return str(error) or type(error).__name__
    size = path.stat().st_size
    if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > size:
        return f"its members unfold to more than its {size:,} bytes"
    return None
