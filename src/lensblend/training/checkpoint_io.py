"""How Lightning saves and loads: through this project's checkpoint files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.plugins.io import CheckpointIO

from lensblend.runs.checkpoint_files import hash_file, read_checkpoint, write_checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """Save and load as `lensblend.runs.checkpoint_files` does: atomically, hashed, and running nothing.

    Args:
        read: A checkpoint's content that has been read and checked already, by its path; it is handed out once.
    """

    def __init__(self, read: Mapping[Path, dict[str, Any]] | None = None) -> None:
        super().__init__()
        self._read = dict(read or {})

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint atomically.

        Raises:
            StorageError: It could not be written; the checkpoints before are as they were.
        """
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load a checkpoint; whatever ``weights_only`` says, nothing in it is run."""
        return self._read.pop(Path(path), None) or read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and its hash."""
        Path(path).unlink(missing_ok=True)
        hash_file(Path(path)).unlink(missing_ok=True)
