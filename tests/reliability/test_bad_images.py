"""The page of bad images is what happens; the kinds are what their names say."""

import os
import re

from PIL import Image

from reliability.bad_images import ENTRIES, KINDS
from reliability.bad_images_page import PAGE, loaded, page, read_page


def test_the_loader_says_what_the_page_says(tmp_path):
    known = read_page(PAGE.read_text(encoding="utf-8"))
    for kind in KINDS:
        if kind.name == "no permission" and os.geteuid() == 0:
            continue  # root may read everything; row R9 gives that up
        said, failures = loaded(kind, kind.lay(tmp_path / "pairs"))
        assert not failures, kind.name
        assert said.replace(str(tmp_path / "pairs"), "…") == known[kind.name, "loader"]


def test_the_page_is_whole_and_shows_no_traceback():
    text = PAGE.read_text(encoding="utf-8")
    known = read_page(text)
    assert page(known) == text
    assert known.keys() == {(kind.name, entry) for kind in KINDS for entry in kind.entries}
    assert len({kind.name for kind in KINDS}) == len(KINDS) == 48
    for kind in KINDS:
        for entry in kind.entries:
            assert (known[kind.name, entry] == "read") == kind.is_read(entry), (kind.name, entry)
    assert "Traceback" not in text
    assert not re.search("/tmp|━", text)
    assert set(ENTRIES) == {entry for _, entry in known}


def test_a_progressive_jpeg_is_one(tmp_path):
    kind = next(kind for kind in KINDS if kind.name == "progressive JPEG")
    with Image.open(kind.lay(tmp_path / "pairs")) as image:
        assert image.info["progressive"]
