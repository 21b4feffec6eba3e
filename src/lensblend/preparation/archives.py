"""Zip and tar archives of strangers: every member is looked at before one is unpacked, and nothing of them is run."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from lensblend.data.listing import SUFFIXES
from lensblend.data.regular_files import open_regular
from lensblend.errors import DataError, LensblendError, StorageError, short
from lensblend.storage import LONGEST, replace, temporary_beside

MOST_MEMBERS = 1_000_000
MOST_BYTES = 2 * 10**12  # of all members
MOST_BYTES_EACH = 2**29  # of one image or list
MOST_RATIO = 100  # of unpacked to packed bytes; photos hardly shrink, lists by ten
MOST_DEPTH = 32  # folders
LONGEST_PATH = 1024  # bytes
LISTS = (".csv", ".txt", ".json", ".npy")  # beside images, what is unpacked
_HEADER = 2**20  # bytes that tarfile may read at once; its headers are of 512, long names and attributes of more
_PIECE = 2**18
_SLACK = 2**20  # bytes that may be packed at any ratio
_OPENERS: tuple[tuple[bytes, Callable[[Any], BufferedIOBase]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, ValueError)


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name as stored, how many bytes it says to hold, and what else it is, if it is none."""

    name: str
    size: int
    kind: str = "file"

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders and the file that its name stands for."""
        return tuple(part for part in self.name.split("/") if part not in ("", "."))


@dataclass(frozen=True)
class Contents:
    """What would be unpacked of an archive, and what not: how many files by suffix."""

    files: dict[str, int]
    left_out: Counter[str]


def is_archive(path: Path) -> bool:
    """Tell by its first bytes whether a file is a zip or tar archive, packed or not."""
    with open_regular(path) as file:
        head = file.read(512)
    return head[:2] == b"PK" or head[257:262] == b"ustar" or any(head.startswith(magic) for magic, _ in _OPENERS)


def look(archive: Path) -> Contents:
    """Look at all members of an archive and write nothing.

    Raises:
        DataError: One of them could do harm or cannot be unpacked, or they are too many or too large; names it.
    """
    with _opened(archive) as members:
        return _checked(archive, (member for member, _ in members))


def unpack(archive: Path, folder: Path, track: Callable[[Iterable[Any], int], Iterable[Any]]) -> Contents:
    """Unpack the images and lists of an archive.

    Files that lie there already with the size that they shall have, of an earlier attempt, stay. Permissions, owners
    and times of the members play no role.

    Args:
        archive: Zip or tar, the latter packed by gzip, bzip2 or xz or not at all.
        folder: Made where it is missing; removed where the archive is refused.
        track: Shows how far it is, given how many members there are.

    Raises:
        DataError: As of `look`; or a member is damaged, or holds other bytes than it says.
        StorageError: There is no room for it.
    """
    contents = look(archive)
    needed = sum(contents.files.values())
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free + sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    if needed > free:
        raise StorageError(
            f"`{archive}` holds {needed / 1e9:.2f} GB of images and lists, and {folder.parent} has {free / 1e9:.2f} GB "
            "left: free some, or name another --output."
        )
    folder.mkdir(exist_ok=True)
    try:
        with _opened(archive) as members:
            for member, source in track(members, len(contents.files) + contents.left_out.total()):
                path = "/".join(member.parts)
                if member.kind == "file" and contents.files.get(path) == member.size:
                    _extract(archive, member, source, folder.joinpath(*member.parts))
    except DataError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return contents


def _extract(archive: Path, member: Member, source: Callable[[], IO[bytes]], path: Path) -> None:
    if path.is_file() and path.stat().st_size == member.size:
        return
    left = member.size
    with temporary_beside(path) as temporary:
        with source() as packed, temporary.open("xb") as file:
            while piece := packed.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    break
                file.write(piece)
        if left:
            raise _refused(archive, member.name, f"holds {'more' if left < 0 else 'fewer'} bytes than it says")
        replace(temporary, path)


def _checked(archive: Path, members: Iterable[Member]) -> Contents:
    contents, names, total = Contents({}, Counter()), _Names(archive), 0
    for number, member in enumerate(members, start=1):
        if number > MOST_MEMBERS:
            raise _refused(archive, member.name, f"is one of more than {MOST_MEMBERS:,}")
        total += member.size
        if total > MOST_BYTES:
            raise _refused(archive, member.name, f"brings the archive to more than {MOST_BYTES / 1e12:g} TB")
        if member.kind not in ("file", "folder"):
            raise _refused(archive, member.name, f"is a {member.kind}, not a file or a folder")
        names.add(member)
        if member.kind == "folder":
            continue
        suffix, hidden = PurePosixPath(member.parts[-1]).suffix.lower(), any(p[0] == "." for p in member.parts)
        if suffix not in (*SUFFIXES, *LISTS) or hidden or member.parts[0] == "__MACOSX":
            contents.left_out["hidden" if hidden else suffix or "no suffix"] += 1
        elif member.size > MOST_BYTES_EACH:
            raise _refused(archive, member.name, f"says to hold {member.size:,} bytes, more than {MOST_BYTES_EACH:,}")
        else:
            contents.files["/".join(member.parts)] = member.size
    return contents


class _Names:
    """The names of an archive so far; each is refused that a file system could take for something else."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._taken: dict[str, tuple[str, str]] = {}

    def add(self, member: Member) -> None:
        name, parts = member.name, member.parts
        length = max((len(part.encode(errors="replace")) for part in parts), default=0)
        wrong = {
            "has characters that cannot be printed": not name.isprintable(),
            "is an absolute path": name.startswith("/") or (name[1:2] == ":" and name[0].isalpha()),
            "leads out by `..`": ".." in parts,
            "holds a backslash, which parts folders on some systems": "\\" in name,
            f"has a part longer than {LONGEST} bytes": length > LONGEST,
            f"is longer than {LONGEST_PATH} bytes": len(name.encode(errors="replace")) > LONGEST_PATH,
            f"lies more than {MOST_DEPTH} folders deep": len(parts) > MOST_DEPTH,
            "has no name": not parts and member.kind == "file",
        }
        if found := next((what for what, is_so in wrong.items() if is_so), None):
            raise _refused(self._archive, name, found)
        for depth in range(1, len(parts) + 1):
            self._claim(name, "/".join(parts[:depth]), member.kind if depth == len(parts) else "folder")

    def _claim(self, name: str, path: str, kind: str) -> None:
        plain = unicodedata.normalize("NFC", path).casefold()
        taken, as_kind = self._taken.get(plain, (path, ""))
        if taken != path:
            raise _refused(
                self._archive, name, f"differs from {short(taken)} in case alone, or in an accent's spelling"
            )
        if as_kind and not as_kind == kind == "folder":
            raise _refused(self._archive, name, "is there twice" if as_kind == kind else "is both a file and a folder")
        self._taken[plain] = path, kind


Opened = Iterator[tuple[Member, Callable[[], IO[bytes]]]]


@contextmanager
def _opened(archive: Path) -> Iterator[Opened]:
    """Give the members of an archive in order, each with what opens it; what is wrong with it is one line."""
    try:
        with open_regular(archive) as file:
            is_zip = file.read(2) == b"PK"
            file.seek(0)
            yield _zip_members(archive, file) if is_zip else _tar_members(archive, file)
    except LensblendError:
        raise
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; decoders give none
            raise
        raise DataError(f"`{archive}` is no archive that can be unpacked ({error}); download it again.") from error


def _zip_members(archive: Path, file: BufferedReader) -> Opened:
    size = archive.stat().st_size
    with zipfile.ZipFile(file) as opened:
        if len(opened.infolist()) > MOST_MEMBERS:
            raise _refused(archive, opened.infolist()[-1].filename, f"is one of more than {MOST_MEMBERS:,}")
        ends = 0
        for info in sorted(opened.infolist(), key=lambda info: info.header_offset):
            if info.header_offset < ends or info.header_offset + info.compress_size > size:
                raise _refused(archive, info.orig_filename, "shares its bytes with another, or has none in the file")
            ends = info.header_offset + info.compress_size
        for info in opened.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            kinds = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
            kind = "folder" if info.is_dir() and mode in (0, stat.S_IFDIR) else kinds.get(mode, "device or pipe")
            if info.flag_bits & 1:
                raise _refused(archive, info.orig_filename, "is encrypted")
            if info.file_size > MOST_RATIO * info.compress_size + _SLACK:
                raise _refused(archive, info.orig_filename, f"unpacks to more than {MOST_RATIO} times its bytes")
            yield Member(info.orig_filename, info.file_size, kind), partial(opened.open, info)


def _tar_members(archive: Path, file: BufferedReader) -> Opened:
    head = file.read(8)
    file.seek(0)
    unpacked: BufferedIOBase = next((opener(file) for magic, opener in _OPENERS if head.startswith(magic)), file)
    bounded = _Bounded(archive, unpacked, archive.stat().st_size)
    with tarfile.open(fileobj=bounded, mode="r:", errorlevel=2) as opened:  # type: ignore[call-overload]
        for info in opened:
            opened.members = []  # or they would all be kept
            links = "link" if info.issym() or info.islnk() else "device or pipe"
            kind = "file" if info.isreg() else "folder" if info.isdir() else links
            if info.size < 0:
                raise _refused(archive, info.name, f"says to hold {info.size} bytes")
            bounded.allow(info.name, info.offset_data + info.size)
            kind = "sparse file" if info.issparse() else kind
            yield Member(info.name, info.size, kind), partial(cast(Any, opened.extractfile), info)
        bounded.seek(opened.offset)
        if bounded.read(512) != bytes(512):  # or what is cut between two members would be taken for whole
            raise tarfile.ReadError("it has no end")


class _Bounded:
    """A tar archive's bytes: no header of it is read in one large piece, and it unpacks to no more than a ratio."""

    def __init__(self, archive: Path, file: BufferedIOBase, packed: int) -> None:
        self._archive, self._file, self._most = archive, file, MOST_RATIO * packed + _SLACK
        self.name = str(archive)

    def allow(self, name: str, end: int) -> None:
        if end > self._most:
            raise _refused(self._archive, name, f"unpacks to more than {MOST_RATIO} times the archive's bytes")

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER:
            raise _refused(self._archive, "", f"is a header of more than {_HEADER:,} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.allow("", offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()


def _refused(archive: Path, name: str, what: str) -> DataError:
    return DataError(
        f"`{archive}`: its member {short(name)} {what}; nothing was unpacked: ask whoever made it, or repack it."
    )
