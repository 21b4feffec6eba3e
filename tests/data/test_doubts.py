"""What is sound file by file and wrong all the same: twins, copies, swapped folders, black masks."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lensblend.data.catalogue import Ebb, Folders
from lensblend.data.doubts import sharpness, twins
from lensblend.data.masked import MaskedPhotos
from lensblend.errors import DataError, RequestError
from lensblend.inference.evaluation import match_folders


def pair(root, name, photos="photos", targets="targets"):
    sharp = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8))
    for folder, image in ((photos, sharp), (targets, sharp.filter(ImageFilter.GaussianBlur(2)))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        image.save(root / folder / f"{name}.png")
    return str(root / photos), str(root / targets)


ALIKE = [("A", "a"), ("1", "01"), ("img_7", "IMG_007"), ("Größe", "Gro\u0308ße"), ("a1b2", "A01b02")]
APART = [("1", "10"), ("a", "b"), ("1", "100"), ("a-1", "a_1"), ("10", "1 0"), ("0", "00a")]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_twins_are_refused_wherever_names_pair_up(tmp_path, one, other):
    for name in (one, other):
        folders = pair(tmp_path, name)
    for opened in (Folders, MaskedPhotos, lambda *f: match_folders(*(tmp_path / n for n in ("photos", "targets")))):
        with pytest.raises(DataError, match=f"`{one}` and `{other}`|`{other}` and `{one}`") as raised:
            opened(*folders)
        assert "called alike; rename or remove one" in str(raised.value)
    whole = pair(tmp_path / "whole", "z")
    with pytest.raises(DataError, match="called alike"):
        Folders(*whole, *folders)


@pytest.mark.parametrize("names", APART)
def test_other_names_are_no_twins(names):
    assert twins(names) == []


def test_one_folder_in_two_places_is_refused(tmp_path):
    photos, targets = pair(tmp_path, "a")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for same in (photos, f"{photos}/", f"{photos}/../photos", str(tmp_path / "link")):
        for opened in (
            lambda same=same: Folders(photos, same),
            lambda same=same: Folders(photos, targets, masks=same),
            lambda same=same: Folders(photos, targets, disparities=same),
            lambda same=same: Folders(photos, targets, same, photos),
            lambda same=same: MaskedPhotos(photos, same),
            lambda same=same: match_folders(tmp_path / "photos", tmp_path / "link"),
        ):
            with pytest.raises(RequestError, match="are one folder"):
                opened()


def test_swapped_and_copied_folders_are_doubted(tmp_path):
    for name in ("a", "b", "c"):
        photos, targets = pair(tmp_path, name)
        pair(tmp_path / "ebb" / "Training", f"{ord(name)}", "bokeh", "original")
        pair(tmp_path, name, "copies", "blurred")
    assert Folders(photos, targets).doubts() == []
    assert "swapped?" in Folders(targets, photos).doubts()[0]
    assert "swapped?" in Ebb(str(tmp_path / "ebb")).doubts()[0]
    assert "are the same pictures" in Folders(photos, str(tmp_path / "copies")).doubts()[0]
    (tmp_path / "photos" / "a.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"photos/a\.png"):
        Folders(targets, photos)


def test_masks_of_zero_and_one_are_doubted(tmp_path):
    photos, targets = pair(tmp_path, "a")
    mask = np.zeros((24, 36), np.uint8)
    (tmp_path / "masks").mkdir()
    for white, doubted in ((255, False), (1, True)):
        mask[:, 9:] = white
        Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
        for source in (
            Folders(photos, targets, masks=str(tmp_path / "masks")),
            MaskedPhotos(photos, str(tmp_path / "masks"), val_fraction=0.0),
        ):
            assert bool(source.doubts()) == doubted


def test_only_a_few_pairs_are_read(tmp_path, monkeypatch):
    import lensblend.data.doubts as doubts

    for index in range(12):
        folders = pair(tmp_path, f"n{index}")
    read = []
    monkeypatch.setattr(doubts, "read_photo", lambda path: read.append(path) or np.zeros((8, 8, 3), np.uint8))
    Folders(*folders).doubts()
    assert len(read) == 8


def test_sharpness_falls_with_blur():
    sharp = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(1)))
    assert sharpness(sharp) > 2 * sharpness(blurred) > 0
    assert sharpness(sharp[:2]) == 0
