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


def test_every_format_of_a_folder_is_rendered_and_what_cannot_be_is_named_before_the_work(
    in_process, trained, tmp_path, monkeypatch
):
    """One folder with every suffix that is read, and every kind of bad item."""
    import lensblend.inference.pixels as rendering
    from lensblend.data.listing import SUFFIXES, rendered_name

    folder, out = tmp_path / "all", tmp_path / "out"
    folder.mkdir()
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8))
    kinds = {".pgm": "L", ".pbm": "1", ".pfm": "F"}
    for suffix in SUFFIXES:
        stored = Image.fromarray(np.full((40, 60), 0.5, np.float32)) if suffix == ".pfm" else image
        stored.convert(kinds.get(suffix, "RGB")).save(folder / f"{suffix[1:]}{suffix}")
    image.save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-12])
    (folder / "page.jpg").write_bytes(b"<html>")
    image.convert("I").save(folder / "deep.tif")
    Image.new("RGB", (16384, 1)).save(folder / "long.png")
    (folder / "long.png").rename(folder / "long.webp")
    image.save(folder / "moves.gif")
    seen = []
    network = rendering.render_pixels
    monkeypatch.setattr(rendering, "render_pixels", lambda *a, **more: seen.append(a) or network(*a, **more))
    done = in_process("render", folder, "--model", trained, "--output", out)
    assert done.code == 1
    assert sorted(p.name for p in out.iterdir()) == sorted(rendered_name(folder / f"{s[1:]}{s}") for s in SUFFIXES)
    assert len(seen) == len(SUFFIXES)  # the network has not run for what cannot be written
    before = done.err.partition("photos rendered")[0]
    for name in ("cut.png", "page.jpg", "deep.tif", "long.webp"):
        assert name in before
        assert name in done.err
    assert "Passed over: " in before
    assert "moves.gif" in before


def test_what_cannot_be_written_is_refused_before_the_network_is_read(in_process, photo, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / photo.name).mkdir(parents=True)
    for output, part in (
        ("/proc/nowhere", "could not be written"),
        (tmp_path / "file", "could not be written"),
        (tmp_path / "file" / "below", "could not be written"),
        (tmp_path / "taken", "is a folder; move it"),
    ):
        done = in_process("render", photo, "--model", "unused", "--output", output)
        assert done.code in (1, 2)
        assert part in done.err
        assert "unused" not in done.err


def test_maps_that_would_be_written_over_each_other_are_refused(in_process, trained, photo, tmp_path):
    for name in ("portrait.png", "portrait-W1-gaussian25.png"):
        Image.new("RGB", (40, 60)).save(photo.with_name(name))
    done = in_process("render", photo.parent, "--model", trained, "--output", tmp_path / "out", "--weights")
    assert done.code == 2
    assert "would have one name" in done.err
    assert "W1-gaussian25.png would have one name" in done.err
    assert not (tmp_path / "out").exists()


def test_compare_too_refuses_an_output_that_cannot_be_written_first(in_process, tmp_path):
    (tmp_path / "file").touch()
    done = in_process("compare", tmp_path / "unused", "--output", tmp_path / "file" / "below")
    assert done.code == 1
    assert "could not be written" in done.err
    assert "unused" not in done.err
