"""Archives that strangers make: each hostile member is refused by name, and nothing of the archive is left."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from lensblend.errors import DataError, StorageError
from lensblend.preparation import archives
from lensblend.preparation.archives import is_archive, look, unpack

LINK, PIPE, DEVICE = stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK
TAR_TYPES = {LINK: tarfile.SYMTYPE, PIPE: tarfile.FIFOTYPE, DEVICE: tarfile.BLKTYPE}
PACKED = {"tar": open, "tar.gz": gzip.open, "tar.bz2": bz2.open, "tar.xz": lzma.open}


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, *kind in members:
            info = zipfile.ZipInfo(name)
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED  # unchanged by ZipInfo
            info.external_attr = (kind[0] if kind else stat.S_IFREG) << 16
            archive.writestr(info, content)


def tarred(path, members, suffix="tar"):
    with PACKED[suffix](path, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content, *kind in members:
            info = tarfile.TarInfo(name)
            if kind and kind[0] == stat.S_IFDIR:
                info.type = tarfile.DIRTYPE
            elif kind:
                info.type, info.linkname = TAR_TYPES[kind[0]], os.fsdecode(content)
            info.size = 0 if kind else len(content)
            archive.addfile(info, io.BytesIO(content))


MAKERS = {
    "zip": zipped,
    **{suffix: lambda path, members, s=suffix: tarred(path, members, s) for suffix in PACKED},
}
GOOD = [("Training/original/1.jpg", b"one"), ("./Training//bokeh/1.jpg", b"two" * 1000)]
HOSTILE = {
    "absolute": ([("/tmp/a.jpg", b"x")], "is an absolute path"),
    "a drive": ([("C:/a.jpg", b"x")], "is an absolute path"),
    "above": ([("../a.jpg", b"x")], "leads out by `..`"),
    "above, later": ([("a/b/../../../a.jpg", b"x")], "leads out by `..`"),
    "a link": ([("a.jpg", b"/etc/passwd", LINK)], "is a link, not a file"),
    "through a link": ([("d", b"/tmp", LINK), ("d/a.jpg", b"x")], "is a link, not a file"),
    "a pipe": ([("a.jpg", b"", PIPE)], "is a device or pipe"),
    "a device": ([("a.jpg", b"", DEVICE)], "is a device or pipe"),
    "case alone": ([("A.jpg", b"x"), ("a.jpg", b"x")], "in case alone"),
    "case of a folder": ([("A/1.jpg", b"x"), ("a/2.jpg", b"x")], "in case alone"),
    "accents": ([("\u00e9.jpg", b"x"), ("e\u0301.jpg", b"x")], "an accent's spelling"),
    "twice": ([("a.jpg", b"x"), ("./a.jpg", b"y")], "is there twice"),
    "file and folder": ([("a.jpg", b"x"), ("a.jpg/b.jpg", b"x")], "is both a file and a folder"),
    "folder and file": ([("a.jpg/b.jpg", b"x"), ("a.jpg", b"x")], "is both a file and a folder"),
    "a long part": ([("a" * 252 + ".jpg", b"x")], "has a part longer than 255 bytes"),
    "a long path": ([("/".join(["a" * 99] * 12) + "/b.jpg", b"x")], "is longer than 1024 bytes"),
    "deep": ([("a/" * 40 + "b.jpg", b"x")], "more than 32 folders deep"),
    "steers the terminal": ([("a\x1b[2J.jpg", b"x")], "cannot be printed"),
    "a new line": ([("a\nb.jpg", b"x")], "cannot be printed"),
    "right to left": ([("a\u202egpj.exe", b"x")], "cannot be printed"),
    "a backslash": ([("..\\a.jpg", b"x")], "holds a backslash"),
    "a bomb": ([("a.jpg", bytes(2**23))], "unpacks to more than 100 times"),
}


def unpacked(path, folder):
    return unpack(path, folder, lambda members, _: members)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused_by_name_and_nothing_is_left(tmp_path, kind, case):
    members, says = HOSTILE[case]
    archive = tmp_path / f"a.{kind}"
    MAKERS[kind](archive, [*GOOD, *members])
    with pytest.raises(DataError, match="its member") as caught:
        unpacked(archive, tmp_path / "out")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]


@pytest.mark.parametrize("kind", MAKERS)
def test_images_and_lists_are_unpacked_and_the_rest_is_counted(tmp_path, kind):
    archive = tmp_path / "a"
    rest = [("run.py", b"x"), ("b.PY", b"x"), ("LICENSE", b"x"), (".hidden/1.jpg", b"x"), ("__MACOSX/1.jpg", b"x")]
    MAKERS[kind](archive, [("empty/", b"", stat.S_IFDIR), *GOOD, ("list.csv", b"1\n"), ("a.NPY", b"z"), *rest])
    assert is_archive(archive)
    before = archive.read_bytes()
    for _ in range(2):
        contents = unpacked(archive, tmp_path / "out")
        assert contents == look(archive)
        assert contents.left_out == {".py": 2, "no suffix": 1, "hidden": 1, ".jpg": 1}
    found = {
        p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    wanted = {
        "Training/original/1.jpg": b"one",
        "Training/bokeh/1.jpg": b"two" * 1000,
        "list.csv": b"1\n",
        "a.NPY": b"z",
    }
    assert found == wanted
    assert contents.files == {name: len(content) for name, content in wanted.items()}
    assert archive.read_bytes() == before


def test_what_was_unpacked_before_is_gone_on_from(tmp_path):
    archive, out = tmp_path / "a.zip", tmp_path / "out"
    zipped(archive, GOOD)
    (out / "Training/original").mkdir(parents=True)
    (out / "Training/original/1.jpg").write_bytes(b"ONE")
    (out / "Training/bokeh").mkdir()
    (out / "Training/bokeh/1.jpg").write_bytes(b"cut")
    unpacked(archive, out)
    assert (out / "Training/original/1.jpg").read_bytes() == b"ONE"  # of the size it shall have
    assert (out / "Training/bokeh/1.jpg").read_bytes() == b"two" * 1000


def patched(content, old, new):
    assert content.count(old) >= 1
    return content.replace(old, new)


def damaged_zip(path, how):
    """A zip whose bytes were changed; None where that is no way to damage one."""
    content = None
    if how == "encrypted":
        zipped(path, GOOD)
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
    elif how == "overlapping":
        zipped(path, GOOD)
        content = bytearray(path.read_bytes())
        second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
        content[second + 42 : second + 46] = struct.pack("<I", 0)
    elif how == "another size":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("1.jpg", b"abcdef" * 9)
        content = bytearray(path.read_bytes())
        central = content.index(b"PK\x01\x02")
        content[central + 24 : central + 28] = struct.pack("<I", 60)
    elif how == "another checksum":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("1.jpg", b"abcdef" * 9)
        content = bytearray(patched(path.read_bytes(), b"abcdefabcdef", b"abcdefabcdeX"))
    elif how == "no archive":
        content = bytearray(b"PK\x03\x04 but no more")
    return content


def damaged_tar(path, how):
    """The same of a tar."""
    if how == "cut between members":
        tarred(path, GOOD)
        content = bytearray(path.read_bytes()[:1024])
    elif how == "cut packed":
        tarred(path, [("1.jpg", os.urandom(9000))], "tar.gz")
        content = bytearray(path.read_bytes()[:6000])
    elif how == "garbage after a member":
        tarred(path, GOOD)
        content = bytearray(path.read_bytes())
        content[1024:1536] = b"\xff" * 512
    elif how == "a huge header":
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
        content = bytearray(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    elif how == "a negative size":
        tarred(path, [])
        info = tarfile.TarInfo("1.jpg")
        info.pax_headers = {"size": "-512"}
        content = bytearray(info.tobuf(tarfile.PAX_FORMAT) + bytes(2048))
    return content


DAMAGED = {
    "encrypted": "is encrypted",
    "overlapping": "shares its bytes with another",
    "another size": "fewer bytes than it says|cannot be unpacked|can be unpacked",
    "another checksum": "can be unpacked",
    "cut between members": "it has no end",
    "cut packed": "can be unpacked",
    "garbage after a member": "it has no end",
    "a huge header": "is a header of more than",
    "a negative size": "says to hold -512 bytes",
    "no archive": "can be unpacked",
}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_archives_are_refused_and_nothing_is_left(tmp_path, how):
    path = tmp_path / "a"
    path.write_bytes(damaged_zip(path, how) or damaged_tar(path, how))
    with pytest.raises(DataError, match=DAMAGED[how]) as caught:
        unpacked(tmp_path / "a", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("limit", "value", "says"),
    [
        ("MOST_MEMBERS", 1, "more than 1"),
        ("MOST_BYTES", 100, "brings the archive to more than"),
        ("MOST_BYTES_EACH", 100, "says to hold 3,000 bytes, more than 100"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_limits_are_said(tmp_path, monkeypatch, kind, limit, value, says):
    monkeypatch.setattr(archives, limit, value)
    MAKERS[kind](tmp_path / "a", GOOD)
    with pytest.raises(DataError, match=says):
        unpacked(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_without_room_is_said_before(tmp_path, monkeypatch):
    zipped(tmp_path / "a", GOOD)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(StorageError, match="GB of images and lists, and"):
        unpacked(tmp_path / "a", tmp_path / "out")


def test_other_files_are_no_archives(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"\xff\xd8 a photo")
    assert not is_archive(tmp_path / "a.zip")
