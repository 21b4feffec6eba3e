"""How Lightning saves and loads: through this project's checkpoint files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.plugins.io import CheckpointIO

from lensblend.errors import LensblendError
from lensblend.runs.checkpoint_files import hash_file, read_checkpoint, write_checkpoint
from lensblend.runs.messages import say


class AtomicCheckpointIO(CheckpointIO):
    """Save and load as `lensblend.runs.checkpoint_files` does: atomically, hashed, and running nothing.

    Args:
        read: A checkpoint's content that has been read and checked already, by its path; it is handed out once.
        background: Whether a thread writes while the training goes on with its next step; what it writes is copied
            before, which takes as much memory as the checkpoint. One file is written at a time: a save waits for the
            one before.
    """

    def __init__(self, read: Mapping[Path, dict[str, Any]] | None = None, background: bool = False) -> None:
        super().__init__()
        self._read = dict(read or {})
        self.background = background
        self._writer = ThreadPoolExecutor(1, "checkpoint")  # starts its thread with the first file
        self._writing: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint atomically.

        Raises:
            StorageError: It, or in the background the one before, could not be written; the checkpoints before are as
                they were.
        """
        self.settle()
        if self.background:
            copied = apply_to_collection(checkpoint, torch.Tensor, lambda t: t.detach().to("cpu", copy=True))
            self._writing = self._writer.submit(write_checkpoint, copied, Path(path))
        else:
            write_checkpoint(checkpoint, Path(path))

    def then(self, follow: Callable[[], None]) -> None:
        """Do what follows a save: now, or once what is being written is on disk; not where it could not be."""
        writing = self._writing
        if writing is None:
            follow()
            return

        def after() -> None:
            writing.result()
            follow()

        self._writing = self._writer.submit(after)

    def settle(self, is_awaited: bool = True) -> None:
        """Wait until all is on disk; where that is not awaited, only see whether something went wrong.

        Raises:
            StorageError: What was written in the background could not be.
        """
        writing = self._writing
        if writing is not None and (is_awaited or writing.done()):
            self._writing = None
            writing.result()

    def close(self) -> None:
        """Wait until all is on disk, at the end of a training that has failed already; another failure is said."""
        try:
            self.settle()
        except LensblendError as error:
            say(str(error))
        self._writer.shutdown()

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load a checkpoint; whatever ``weights_only`` says, nothing in it is run."""
        self.settle()
        return self._read.pop(Path(path), None) or read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and its hash."""
        self.settle()
        Path(path).unlink(missing_ok=True)
        hash_file(Path(path)).unlink(missing_ok=True)
