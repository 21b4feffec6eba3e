"""Files that are none, or far too long, stop nobody."""

import os

import pytest

from lensblend.data.regular_files import open_regular, read_text
from lensblend.errors import DataError


def test_a_text_is_read_with_and_without_its_mark(tmp_path):
    for content in ("grün\n".encode(), b"\xef\xbb\xbf" + "grün\n".encode()):
        (tmp_path / "x").write_bytes(content)
        assert read_text(tmp_path / "x") == "grün\n"
    (tmp_path / "link").symlink_to("x")
    assert read_text(tmp_path / "link") == "grün\n"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("pipe")
    for name, says in {"pipe": "pipe or device", "folder": "folder", "loop": "cannot be read", "link": "pipe"}.items():
        with pytest.raises(DataError, match=says):
            open_regular(tmp_path / name)
    with pytest.raises(DataError, match="pipe or device"):
        open_regular("/dev/zero")
    with pytest.raises(DataError, match="cannot be read"):
        open_regular("a\0b")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_too_long_and_no_text_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"a" * 11)
    with pytest.raises(DataError, match="longer than 10 bytes"):
        read_text(tmp_path / "x", limit=10)
    assert read_text(tmp_path / "x", limit=11) == "a" * 11
    (tmp_path / "x").write_bytes(b"ab\xff")
    with pytest.raises(DataError, match=r"no text in UTF-8 .*byte 2"):
        read_text(tmp_path / "x")
