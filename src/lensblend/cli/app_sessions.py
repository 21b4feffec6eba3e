"""The uploads of ``lensblend demo-app``: each visitor's photo in a folder of its own, until it is no longer needed."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lensblend.data.listing import SUFFIXES
from lensblend.errors import DataError
from lensblend.storage import fitting, real

KEEP = 3600.0  # seconds without any use, after which a photo is deleted
STRAY = 600.0  # seconds until an upload that nobody asked for again, or a kept map, is deleted
MOST = 16  # visitors' photos that are kept at once
_LONGEST = 120  # bytes of a photo's name without its suffix
MAPS = "maps"  # where networks keep what they found in photos
_FOLDER = "photo-"


@dataclass
class Session:
    """One visitor's photo.

    Attributes:
        photo: The upload, alone in its folder with what was made of it.
        focus: The point that was clicked, shares of width and height.
        lock: Held while something is made of the photo, so that it is not deleted meanwhile.
    """

    photo: Path
    focus: tuple[float, float] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    used: float = field(default_factory=time.monotonic)
    _files: int = 0

    @property
    def folder(self) -> Path:
        """The folder that holds nothing else."""
        return self.photo.parent

    def fresh(self, name: str) -> Path:
        """Return a name that no browser has seen, in a folder where no rendering lies."""
        self._files += 1
        return self.folder / "shown" / f"{self._files}-{name}"


class Sessions:
    """All visitors' photos, and which files of theirs may be sent to a browser.

    Args:
        root: The folder in which uploads arrive; folders of sessions lie in it too.
        keep: Seconds without any use, after which a photo is deleted.
        most: How many are kept; one more takes the place of the one that was not used for longest.
    """

    def __init__(self, root: Path, keep: float = KEEP, most: int = MOST) -> None:
        self.root = real(root)
        self._keep, self._most = keep, most
        self._open: dict[str, Session] = {}
        self._listed: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, key: str, upload: Path) -> Session:
        """Take over an upload; what the visitor had before is deleted.

        Args:
            key: Of the visitor.
            upload: A file in the root, as the server wrote it; it is moved.

        Raises:
            DataError: The upload is no file there, or no picture.
        """
        from lensblend.data.originals import suffix_of

        if not self.is_upload(upload):
            raise DataError("The upload is gone; drop the photo again.")
        self.forget(key)
        self.sweep()
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=self.root))
        try:
            arrived = Path(shutil.move(upload, folder / "arrived"))
            suffix = upload.suffix if upload.suffix.lower() in SUFFIXES else suffix_of(arrived)
            session = Session(arrived.rename(folder / harmless(upload.stem, suffix)))
            (folder / "shown").mkdir()
        except (OSError, DataError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise DataError("The upload is no picture that is read here; use JPEG, PNG, TIFF or WebP.") from error
        with self._lock:
            self._open[key] = session
        return session

    def of(self, key: str) -> Session:
        """Return a visitor's photo.

        Raises:
            DataError: There is none.
        """
        with self._lock:
            session = self._open.get(key)
        if session is None:
            raise DataError("There is no photo, or it was deleted after an hour without use; drop one.")
        session.used = time.monotonic()
        return session

    def forget(self, key: str) -> None:
        """Delete a visitor's photo, and what was made of it, once nothing is made of it any more."""
        with self._lock:
            session = self._open.pop(key, None)
        if session is not None:
            with session.lock:
                self._delete(session)

    def list(self, session: Session, files: Iterable[Path]) -> None:
        """Let files of a session be sent to a browser."""
        with self._lock:
            self._listed |= {str(real(file)) for file in files}

    def is_listed(self, path: str) -> bool:
        """Tell whether a path, as a browser names it, is a file that may be sent."""
        with self._lock:
            return path in self._listed

    def is_upload(self, path: str | Path) -> bool:
        """Tell whether a path is a regular file that arrived as an upload, and belongs to no session."""
        path = Path(path)
        place = real(path)
        below = place.relative_to(self.root).parts if place.is_relative_to(self.root) else ()
        return len(below) == 2 and not below[0].startswith((_FOLDER, MAPS)) and path.is_file()

    def sweep(self, now: Callable[[], float] = time.monotonic) -> None:
        """Delete photos that were not used for long, those beyond the most that are kept, and stray uploads."""
        with self._lock:
            idle = sorted(self._open, key=lambda key: self._open[key].used)
            old = [key for key in idle if now() - self._open[key].used > self._keep]
            gone = list(dict.fromkeys([*old, *idle[: max(0, len(idle) - self._most + 1)]]))
            gone = [key for key in gone if not self._open[key].lock.locked()]
        for key in gone:
            self.forget(key)
        with self._lock:
            held = {session.folder for session in self._open.values()}
        for entry in self.root.iterdir():
            if entry not in held and time.time() - entry.stat().st_mtime > STRAY:
                shutil.rmtree(entry, ignore_errors=True)

    def _delete(self, session: Session) -> None:
        shutil.rmtree(session.folder, ignore_errors=True)
        with self._lock:
            within = f"{real(session.folder)}/"
            self._listed = {file for file in self._listed if not file.startswith(within)}


def harmless(stem: str, suffix: str) -> str:
    r"""Return a name for an upload that is a file's name everywhere, and no markup.

    Args:
        stem: What the visitor called it, without folders and suffix.
        suffix: Kept, in lower case where it is none of ours.

    Example:
        >>> harmless("IMG 0042 (1)", ".JPG"), harmless('"><b>x</b>', ".png"), harmless("..", ".png")
        ('IMG 0042 (1).JPG', '___b_x__b_.png', 'photo.png')
    """
    plain = unicodedata.normalize("NFC", stem)
    plain = re.sub(r"[^\w .()+,=@#-]", "_", plain).strip(" .-")
    while len(plain.encode()) > _LONGEST:
        plain = plain[:-1]
    return fitting(plain.strip(" .-") or "photo", suffix)
