"""The network that comes with the package: small, whole, described, and what `render` uses."""

from pathlib import Path

import numpy as np
from PIL import Image

from lensblend.runs.checkpoints import check_renders, load_network
from lensblend.runs.models import model_file

CHECKOUT = Path(__file__).resolve().parents[1]


def test_it_is_small():
    assert 100_000 < model_file("default").stat().st_size <= 20_000_000


def test_it_says_what_it_is_and_whose_photos_it_saw(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = load_network("default")
    assert check_renders(trained).blends_full_size
    card = trained.card
    assert card.keys() == {"licence", "attributions", "f_number"}
    rows = [line.split("\t") for line in (CHECKOUT / "docs/models" / card["attributions"]).read_text().splitlines()]
    assert rows[0] == ["file", "licence", "source"]
    assert len(rows) > 100
    assert all(len(row) == 3 and all(row) for row in rows)
    page = (CHECKOUT / "docs/models/default.md").read_text()
    assert trained.sha256 in page
    assert not [line for line in page.splitlines() if "[.." in line or "[hash]" in line]


def test_it_names_nothing_of_the_machine_that_trained_it():
    content = model_file("default").read_bytes()
    for part in (str(Path.home()), str(CHECKOUT), "/tmp/", "/work/"):
        assert part.encode() not in content


def test_it_renders_a_photo(in_process, tmp_path, picture):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 144, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    done = in_process("render", tmp_path / "photo.png", "--output", tmp_path / "out", cwd=tmp_path)
    assert done.code == 0, done.err
    assert picture(tmp_path / "out" / "photo.png").shape == (96, 144, 3)
