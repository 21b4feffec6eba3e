"""The page renders what `lensblend render` renders, byte for byte, and says what it cannot."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from lensblend.cli.app_studio import Studio, Wish, in_the_apps_words, shown
from lensblend.errors import DataError, RequestError

ORIENTATION = 274


@pytest.fixture
def photo(tmp_path):
    """A photo on its side, with a colour profile."""
    pixels = np.random.default_rng(1).integers(0, 256, (10, 14, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION], exif[271] = 6, "Canon"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "page" / "portrait.jpg"
    path.parent.mkdir()
    Image.fromarray(pixels).resize((140, 100)).save(path, exif=exif, icc_profile=profile, quality=95)
    (tmp_path / "line").mkdir()
    (tmp_path / "line" / "portrait.jpg").write_bytes(path.read_bytes())
    return path


@pytest.fixture
def same(in_process, photo, tmp_path):
    """Render on the page and on the command line, and compare all files that come of it."""

    def compare(studio, wish, *flags):
        parts = []
        bokeh, maps = studio.render(photo, wish, parts.append)
        line = tmp_path / "line"
        done = in_process("render", line / "portrait.jpg", "--overwrite", *flags)
        assert done.code == 0, done.err
        assert bokeh.read_bytes() == (line / bokeh.name).read_bytes()
        assert parts[-1] == pytest.approx(1)
        return bokeh, maps, line

    return compare


def test_a_network_renders_as_on_the_command_line(same, tiny_model, one_thread):
    studio = Studio(str(tiny_model), device="cpu")
    bokeh, maps, line = same(studio, Wish(), "--model", tiny_model, "--weights")
    assert list(maps) == ["W0-photo", "W1-gaussian3", "W2-gaussian5", "depth"][: len(maps)]
    for name in ("W0-photo", "W1-gaussian3", "W2-gaussian5"):
        assert maps[name].read_bytes() == (line / maps[name].name).read_bytes()
    with Image.open(bokeh) as rendered:
        assert rendered.size == (100, 140)
        assert rendered.info["icc_profile"]
    as_it_is = bokeh.read_bytes()
    same(studio, Wish(strength=2.0), "--model", tiny_model, "--strength", "2.0")
    assert bokeh.read_bytes() != as_it_is
    same(studio, Wish(strength=1.0), "--model", tiny_model)


def test_a_thin_lens_renders_where_there_is_disparity_and_a_focus(same, tiny_model, tmp_path, one_thread):
    disparity = tmp_path / "map.npy"
    np.save(disparity, np.tile(np.linspace(0, 1, 100, dtype=np.float32), (140, 1)))
    studio = Studio(str(tiny_model), str(disparity), "cpu")
    flags = ("--disparity", disparity, "--focus", "0.25,0.5", "--f-number", "1.5")
    bokeh, maps, _ = same(studio, Wish(f_number=1.5, focus=(0.25, 0.5)), *flags)
    with Image.open(maps["depth"]) as depth:
        picture = np.asarray(depth)
    np.testing.assert_allclose(picture[70, :, 0], np.linspace(0, 255, 100), atol=1.01)
    by_lens = bokeh.read_bytes()
    same(studio, Wish(), "--model", tiny_model)  # the network where nothing was clicked
    assert bokeh.read_bytes() != by_lens


@pytest.mark.parametrize(
    "wish",
    [
        {"strength": 0.0}, {"strength": -1}, {"strength": 1e9}, {"strength": float("nan")}, {"strength": "2"},
        {"strength": True}, {"strength": [2]}, {"f_number": 0.0}, {"f_number": float("inf")}, {"focus": (-0.1, 0.5)},
        {"focus": (0.5, 1.1)}, {"focus": (float("nan"), 0.5)},
    ],
)  # fmt: skip
def test_what_no_slider_says_is_refused(wish):
    with pytest.raises(RequestError, match=r"is a number from .* to "):
        Wish(**wish)


def test_a_focus_that_the_network_does_not_keep_sharp_is_said_in_the_pages_words(photo, tiny_model, one_thread):
    studio = Studio(str(tiny_model), device="cpu")
    with pytest.raises(DataError, match="is not on the subject") as error:
        studio.render(photo, Wish(focus=(0.5, 0.5)), lambda _: None)
    said = in_the_apps_words(str(error.value), photo)
    assert "start the app with `--disparity SOURCE`" in said
    assert str(photo.parent) not in said


def test_a_photo_that_is_too_large_or_none_is_refused_without_its_place(photo, tiny_model):
    studio = Studio(str(tiny_model), device="cpu", max_megapixels=0.01)
    with pytest.raises(DataError) as error:
        studio.render(photo, Wish(), lambda _: None)
    assert str(photo.parent) not in in_the_apps_words(str(error.value), photo)
    assert "the photo" in in_the_apps_words(str(error.value), photo)
    with pytest.raises(DataError):
        shown(photo, photo.with_name("preview.jpg"), 100)


def test_a_model_that_renders_no_bokeh_is_refused(tmp_path):
    from lensblend.runs.checkpoints import describe
    from lensblend.runs.instantiate import build
    from lensblend.runs.roles import MODELS
    from lensblend.runs.safetensors_files import write_network

    trunk = {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16}
    node = {"_target_": "lensblend.priors.depth_network.DepthNetwork", "backbone": trunk}
    config = {"seed": 0, "schedule": {"run": ["phase1"]}, "data": {"_target_": "lensblend.data.embedded.Embedded"}}
    path = tmp_path / "depth.safetensors"
    write_network(build(node, "model", *MODELS).state_dict(), describe(node, "phase1", [32, 48], config, {}), path)
    with pytest.raises(RequestError, match="DepthNetwork"):
        Studio(str(path))


def test_a_picture_is_shown_upright_small_and_with_a_ring_where_it_was_clicked(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    large = tmp_path / "large.png"
    Image.new("RGB", (3200, 800), (90, 90, 90)).save(large, exif=exif)
    size = shown(large, tmp_path / "small.jpg", 10**7, (0.25, 0.75))
    assert size == (3200, 800)
    with Image.open(io.BytesIO((tmp_path / "small.jpg").read_bytes())) as small:
        assert small.size == (400, 1600)
        assert small.getexif().get(ORIENTATION, 1) == 1
        pixels = np.asarray(small.convert("L")).astype(int)
    rows, columns = np.nonzero(pixels > 200)
    assert abs(rows.mean() - 0.75 * 1600) < 3
    assert abs(columns.mean() - 0.25 * 400) < 3
    assert pixels[1200, 100] == pytest.approx(90, abs=3)
