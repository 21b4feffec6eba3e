"""Maps in files: checked before they are needed, read only where something needs them."""

import numpy as np
import pytest
from PIL import Image

from lensblend.data.catalogue import Folders
from lensblend.data.files import FilePairs, PairFiles, check_map_fits
from lensblend.errors import DataError
from lensblend.inference.guidance import KNOWN, MapFiles, Truth
from lensblend.inference.guided_pairs import Guided, GuidedSource, check_guides

PHOTO = (24, 36)  # (height, width)


@pytest.mark.parametrize(
    ("map_size", "fits"),
    [
        ((24, 36), True),
        ((12, 18), True),
        ((48, 72), True),
        ((5, 7), True),  # a seventh of the size, rounded
        ((36, 24), False),
        ((18, 12), False),
        ((24, 24), False),
        ((24, 48), False),
    ],
)
def test_a_map_lies_on_its_photo_or_is_refused(map_size, fits):
    if fits:
        check_map_fits("map.png", map_size, "photo.jpg", PHOTO)
        check_map_fits("map.png", map_size[::-1], "photo.jpg", PHOTO[::-1])
        return
    for turn in (1, -1):
        with pytest.raises(DataError, match=r"`map\.png` is \d+×\d+ and `photo\.jpg` \d+×\d+ .*; (turn|resize)"):
            check_map_fits("map.png", map_size[::turn], "photo.jpg", PHOTO[::turn])


def files(folder, **maps):
    """One photo of a folder, on its side in the file, with maps of given arrays."""
    folder.mkdir(exist_ok=True)
    turned = Image.Exif()
    turned[274] = 6
    for kind in ("photo", "target"):
        Image.new("RGB", PHOTO).save(folder / f"{kind}.png", exif=turned)  # 24 wide and 36 high, shown 24 × 36
    paths = {}
    for name, plane in maps.items():
        paths[name] = folder / f"{name}.png"
        Image.fromarray(plane).save(paths[name], exif=turned if plane.shape == PHOTO[::-1] else None)
    return FilePairs([PairFiles("one", folder / "photo.png", folder / "target.png", paths)])


def test_photo_and_map_are_turned_alike(tmp_path):
    stored = np.zeros(PHOTO[::-1], np.uint8)
    stored[:, -4:] = 255  # the right of what is stored is the bottom of what is shown
    shown = np.rot90(stored, -1)
    pairs = files(tmp_path, mask=stored)
    pair = pairs.load(0)
    assert pairs.size(0) == pair.photo.shape[:2] == PHOTO
    np.testing.assert_array_equal(pair.maps["mask"], shown > 0)
    assert pairs.map_problems("mask") == []


def test_a_map_that_nobody_needs_stops_nothing(tmp_path):
    pairs = files(tmp_path, mask=np.zeros(PHOTO, np.uint8), disparity=np.zeros((36, 36), np.uint8))
    (tmp_path / "mask.png").write_bytes(b"<html>")
    source = type("Source", (Folders,), {"__init__": lambda self: None, "split": lambda self, name: pairs})()
    for seen in (Guided(pairs, {}, KNOWN), GuidedSource(source, {}, KNOWN).split("train")):
        assert seen.load(0).maps == {}
    with pytest.raises(DataError, match="no readable image"):
        pairs.load(0).maps["mask"]
    with pytest.raises(DataError, match="their shapes differ"):
        pairs.load(0).maps["disparity"]
    # ... and is found before the work begins where one does.
    for name, message in (("saliency", "no readable image"), ("disparity", "their shapes differ")):
        with pytest.raises(DataError, match=message):
            check_guides({name: Truth(name)}, pairs)


def test_all_maps_that_do_not_fit_are_named_at_once(tmp_path):
    (tmp_path / "maps").mkdir()
    entries = []
    for index, size in enumerate([PHOTO, PHOTO[::-1], None, (30, 30), PHOTO]):
        pairs = files(tmp_path / str(index))
        entries.append(PairFiles(f"photo{index}", pairs.files[0].photo, pairs.files[0].target, {}))
        if size:
            Image.new("L", size[::-1]).save(tmp_path / f"maps/photo{index}.png")
    np.save(tmp_path / "maps/photo4.npy", np.zeros(PHOTO))
    guides = {"saliency": MapFiles("saliency", str(tmp_path / "maps"))}
    with pytest.raises(DataError, match=r"4 problem\(s\)") as raised:
        check_guides(guides, FilePairs(entries))
    for part in (
        "one stands and the other lies",
        "`photo2` needs one saliency map",
        "their shapes differ",
        "there are 2",
    ):
        assert part in str(raised.value)
    check_guides(guides, FilePairs(entries), 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_mask_is_a_mask_in_whatever_mode_it_is_stored(tmp_path, mode):
    plane = np.zeros(PHOTO, np.uint8)
    plane[:, 20:] = 255
    pairs = files(tmp_path)
    image = Image.fromarray(plane.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(plane).convert(mode)
    image.save(tmp_path / "mask.tif")
    pairs = FilePairs([PairFiles("one", pairs.files[0].photo, None, {"mask": tmp_path / "mask.tif"})])
    assert pairs.map_problems("mask") == []
    np.testing.assert_array_equal(pairs.load(0).maps["mask"], plane > 0)
