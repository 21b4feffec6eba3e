"""Photos and targets of files, resized once for a phase and kept in one file of 8-bit pixels that every epoch reads."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
from numpy.typing import NDArray

from lensblend.caches import cache_folder
from lensblend.data.pairs import Pair, Pairs
from lensblend.data.transforms import resize_lanczos
from lensblend.errors import RequestError, StorageError
from lensblend.storage import cannot_write, flush, replace

FORMAT = 1
# Pairs between two flushes; after a stop the last ones may not have reached the disk, and are made again.
CHUNK = 64


class Packed(Pairs):
    """Pairs of one size, read from the file that `pack` has written.

    Args:
        ids: Of the pairs.
        file: Holds their pixels.
        image_size: Their (height, width).
        f_numbers: Of their targets; None where one is not known.
    """

    def __init__(
        self, ids: Sequence[str], file: Path, image_size: tuple[int, int], f_numbers: Sequence[float | None]
    ) -> None:
        self.ids, self.file, self._image_size, self._f_numbers = ids, file, image_size, f_numbers
        self._rows: NDArray[np.uint8] | None = None

    def load(self, index: int, epoch: int = 0) -> Pair:
        """Return one pair; its pixels are read when they are looked at, and cannot be written to."""
        if self._rows is None:
            self._rows = np.memmap(self.file, np.uint8, "r", shape=(len(self.ids), *_row_shape(self._image_size)))
        photo, target = np.asarray(self._rows[index])
        return Pair(self.ids[index], photo, target, f_number=self._f_numbers[index])

    def f_number(self, index: int) -> float | None:
        """Return the f-number of a pair's target, where it is known."""
        return self._f_numbers[index]

    def size(self, index: int) -> tuple[int, int]:
        """Return the size of all."""
        return self._image_size

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pixels where they are: each reading process maps the file itself."""
        return {**vars(self), "_rows": None}


def pack(
    pairs: Pairs, image_size: tuple[int, int], count: int | None, threads: int, say: Callable[[str], None]
) -> Packed:
    """Resize the first pairs as training does, keep them in ``$LENSBLEND_CACHE/packed``, and return them as they are.

    What is kept is found by paths, times and sizes of the files, the size, and Pillow's version. Processes that ask for
    the same at once wait for the first of them; one that was stopped is gone on from. The file gets its name when it is
    whole.

    Args:
        pairs: In files, without maps.
        image_size: (height, width).
        count: Of how many pairs; None for all.
        threads: That read and resize.
        say: Is told how large it becomes, before it does.

    Raises:
        RequestError: The pairs are rendered, or carry more than photo and target.
        StorageError: There is no room for it.
    """
    number = len(pairs.ids) if count is None else min(count, len(pairs.ids))
    stamps = [pairs.stamp(index) for index in range(number)]
    _check(pairs, stamps)
    height, width = image_size
    key = hashlib.sha256(json.dumps([FORMAT, PIL.__version__, image_size, stamps]).encode()).hexdigest()[:16]
    file = cache_folder("packed") / f"{key}-{height}x{width}.u8"
    packed = Packed(pairs.ids[:number], file, image_size, [pairs.f_number(index) for index in range(number)])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file.with_suffix(".lock")):
            if not file.exists():
                _write(pairs, packed, image_size, threads, say)
    except OSError as error:
        raise StorageError(cannot_write(file, error)) from error
    return packed


def _check(pairs: Pairs, stamps: Sequence[Any]) -> None:
    if any(stamp is None for stamp in stamps):
        raise RequestError(
            "`loader.cache` keeps pairs that lie in files and are taken as they are, but these are rendered or guided "
            "by maps; leave it out."
        )
    if stamps and ((first := pairs.load(0)).target is None or first.maps):
        also = f"the maps {', '.join(first.maps)}" if first.maps else "no target"
        raise RequestError(f"`loader.cache` keeps photos and targets alone, but `{first.id}` has {also}; leave it out.")


def _write(pairs: Pairs, packed: Packed, image_size: tuple[int, int], threads: int, say: Callable[[str], None]) -> None:
    """Write all pairs, from where an earlier attempt has stopped."""
    row, number = int(np.prod(_row_shape(image_size))), len(packed.ids)
    part = packed.file.with_suffix(".part")
    written = part.stat().st_size // row if part.exists() else 0
    done = max(min(written, number) - CHUNK, 0)
    needed, free = (number - written) * row, shutil.disk_usage(part.parent).free
    if needed > free:
        raise StorageError(
            f"`loader.cache` needs {needed / 1e9:.2f} GB in {part.parent}, which has {free / 1e9:.2f} GB left: free "
            "some, set LENSBLEND_CACHE to a larger disk, or leave it out."
        )
    before = f", {done} of them before" if done else ""
    say(
        f"Packing {number} pairs at {image_size[0]}×{image_size[1]}{before}: {number * row / 1e9:.2f} GB, {packed.file}"
    )

    def resized(index: int) -> bytes:
        pair = pairs.load(index)
        return b"".join(resize_lanczos(image, image_size).tobytes() for image in (pair.photo, pair.captured()))

    # Never truncated: where a file system has no locks, two write the same bytes to the same places.
    with part.open("r+b" if part.exists() else "w+b") as stream, ThreadPoolExecutor(max(threads, 1)) as pool:
        stream.seek(done * row)
        for start in range(done, number, CHUNK):
            stream.writelines(pool.map(resized, range(start, min(start + CHUNK, number))))
            stream.flush()
            flush(stream.fileno())
    try:
        replace(part, packed.file)
    except FileNotFoundError:  # without locks, another has been faster
        if not packed.file.exists():
            raise


@contextmanager
def _alone(path: Path) -> Iterator[IO[bytes]]:
    """Wait until no other process holds a lock; the system frees it however its holder ends."""
    with path.open("ab") as file:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield file


def _row_shape(image_size: tuple[int, int]) -> tuple[int, int, int, int]:
    return 2, *image_size, 3
