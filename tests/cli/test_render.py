import numpy as np
import pytest
from PIL import Image, ImageCms

MAKER, ORIENTATION = 271, 274


@pytest.fixture
def photo(tmp_path):
    """A photo on its side, as cameras store portraits, with EXIF and a colour profile."""
    pixels = np.random.default_rng(1).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[MAKER], exif[ORIENTATION] = "Canon", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "photos" / "portrait.jpg"
    path.parent.mkdir()
    Image.fromarray(pixels).resize((210, 150)).save(path, exif=exif, icc_profile=profile, quality=95)
    return path


def test_a_photo_keeps_its_size_exif_and_profile(in_process, trained, photo, tmp_path):
    out = tmp_path / "out"
    done = in_process("render", photo, "--model", trained, "--output", out)
    assert done.code == 0, done.err
    with Image.open(out / "portrait.jpg") as rendered, Image.open(photo) as original:
        assert rendered.size == (150, 210)
        assert rendered.getexif()[MAKER] == "Canon"
        assert rendered.getexif().get(ORIENTATION, 1) == 1
        assert rendered.info["icc_profile"] == original.info["icc_profile"]


def test_weight_maps_are_pictures_that_sum_to_white(in_process, trained, photo, picture, tmp_path):
    out = tmp_path / "out"
    done = in_process("render", photo.parent, "--model", trained, "--output", out, "--weights", "--blend-at", "photo")
    assert done.code == 0, done.err
    maps = sorted(out.glob("portrait-W*.png"))
    assert [p.stem for p in maps] == [
        "portrait-W0-photo", "portrait-W1-gaussian25", "portrait-W2-gaussian45", "portrait-W3-gaussian75"
    ]  # fmt: skip
    total = sum(picture(p).astype(int) for p in maps)
    assert total.shape == (210, 150)
    assert np.abs(total - 255).max() <= 2


def test_full_resolution_blending_differs_from_the_papers_path(in_process, trained, photo, picture, tmp_path):
    for way in ("network", "photo"):
        assert in_process("render", photo, "--model", trained, "--output", tmp_path / way, "--blend-at", way).code == 0
    network, full = (picture(tmp_path / way / "portrait.jpg").astype(float) for way in ("network", "photo"))
    # The paper's path goes through 32x48 pixels and back; the other keeps the photo's own detail.
    assert np.diff(full, axis=1).std() > 1.5 * np.diff(network, axis=1).std()


def test_one_unreadable_photo_does_not_stop_the_others(in_process, trained, photo, tmp_path):
    (photo.parent / "broken.jpg").write_bytes(b"<html>")
    done = in_process("render", photo.parent, "--model", trained, "--output", tmp_path / "out")
    assert done.code == 1
    assert "broken.jpg" in done.err
    assert (tmp_path / "out" / "portrait.jpg").exists()


def test_a_photo_is_never_overwritten_by_its_rendering(in_process, photo):
    before = photo.read_bytes()
    done = in_process("render", photo, "--model", "unused", "--output", photo.parent)
    assert done.code == 2
    assert "would be overwritten" in done.err
    assert photo.read_bytes() == before


def test_two_photos_for_one_file_are_refused(in_process, photo, tmp_path):
    other = tmp_path / "others" / photo.name
    other.parent.mkdir()
    other.write_bytes(photo.read_bytes())
    done = in_process("render", photo, other, "--model", "unused", "--output", tmp_path / "out")
    assert done.code == 2
    assert "would both be written to" in done.err
