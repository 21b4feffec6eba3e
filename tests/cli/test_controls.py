"""A photographer's controls of `lensblend render`: strength and f-number, focus, the shape of the aperture."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from lensblend.cli.controls import Controls, check_aim
from lensblend.errors import DataError, RequestError
from lensblend.nn.rendering import BokehNetwork

HEIGHT, WIDTH = 60, 90


@pytest.fixture
def scene(tmp_path):
    """A photo of a textured square before a textured wall, its disparity and a mask of the square."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    near = np.zeros((HEIGHT, WIDTH), np.uint8)
    near[15:45, 30:60] = 255
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(np.where(near, 230, 25).astype(np.uint8)).save(tmp_path / "disparity.png")
    Image.fromarray(near).save(tmp_path / "mask.png")
    return tmp_path


def texture(picture, rows, columns):
    """How much neighbours differ in a part of a picture."""
    return float(np.abs(np.diff(picture[rows, columns].astype(float), axis=1)).mean())


SQUARE, WALL = (slice(22, 38), slice(37, 53)), (slice(5, 55), slice(5, 20))


def rendered(in_process, picture, scene, *arguments):
    out = scene / "out.png"
    done = in_process("render", scene / "photo.png", "-o", out, "--overwrite", *arguments)
    assert done.code == 0, done.err
    return picture(out), done


@pytest.mark.parametrize(
    ("focus", "sharp", "blurred"),
    [
        (["--focus", "0.5,0.5"], SQUARE, WALL),
        (["--focus", "45,30"], SQUARE, WALL),
        (["--focus", "0.1,0.5"], WALL, SQUARE),
        (["--focus-at", "0.9"], SQUARE, WALL),
        (["--focus-at", "0.1"], WALL, SQUARE),
    ],
)
def test_what_is_pointed_at_stays_as_it_is_and_the_rest_is_blurred(in_process, picture, scene, focus, sharp, blurred):
    photo = picture(scene / "photo.png")
    bokeh, _ = rendered(in_process, picture, scene, "--disparity", scene / "disparity.png", *focus, "--aperture", "0.1")
    assert np.abs(bokeh[sharp].astype(int) - photo[sharp]).max() <= 1
    assert texture(bokeh, *blurred) < 0.3 * texture(photo, *blurred)


def test_what_is_white_in_a_mask_stays_sharp_and_does_not_bleed(in_process, picture, scene):
    red = np.where(picture(scene / "mask.png")[..., None] > 0, [255, 0, 0], [0, 90, 160]).astype(np.uint8)
    Image.fromarray(red).save(scene / "photo.png")
    bokeh, _ = rendered(in_process, picture, scene, "--focus-mask", scene / "mask.png", "--aperture", "0.2")
    assert np.abs(bokeh.astype(int) - red).max() <= 1  # two even colours: blurred without bleeding, they are the same


def test_a_wider_aperture_blurs_more_and_the_f_number_is_an_aperture(in_process, picture, scene):
    """f/2.88 is 0.024 of the width; half of the f-number is twice the disc."""

    def left(*wide):
        bokeh, _ = rendered(
            in_process, picture, scene, "--disparity", scene / "disparity.png", "--focus-at", "0.9", *wide
        )
        return texture(bokeh, *WALL), bokeh

    textures = [left("--f-number", number)[0] for number in ("0.5", "1", "1.8", "4", "16")]
    assert textures == sorted(textures)
    assert np.array_equal(left()[1], left("--f-number", "2.88")[1])
    assert np.array_equal(left("--f-number", "0.72")[1], left("--aperture", "0.096")[1])
    assert np.array_equal(left("--strength", "4")[1], left("--aperture", "0.096")[1])


def test_discs_have_the_shape_of_the_aperture(in_process, picture, scene):
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    photo[30, 12] = 255
    Image.fromarray(photo).save(scene / "photo.png")
    areas = {}
    for blades in ("0", "4"):
        given = ["--blades", blades, *(["--rotation", "45"] if blades == "4" else [])]
        bokeh, _ = rendered(
            in_process, picture, scene, "--disparity", scene / "disparity.png", "--focus-at", "0.9",
            "--aperture", "0.25", "--highlights", "20", *given,
        )  # fmt: skip
        disc = bokeh[..., 0] > 0.5 * bokeh[:, :25, 0].max()
        rows, columns = (np.flatnonzero(disc[:, :25].any(axis=axis)) for axis in (1, 0))
        areas[blades] = disc[:, :25].sum() / (len(rows) * len(columns))
    assert areas["0"] == pytest.approx(np.pi / 4, abs=0.05)  # of the square around it
    assert areas["4"] == pytest.approx(1, abs=0.02)  # a square, turned to stand on its side


def test_several_photos_take_a_folder_of_maps(in_process, picture, scene):
    maps = scene / "maps"
    maps.mkdir()
    for name in ("a", "b"):
        Image.open(scene / "photo.png").save(scene / f"{name}.png")
        Image.open(scene / "disparity.png").save(maps / f"{name}.png")
    photos = [scene / "a.png", scene / "b.png"]
    aimed = ["--focus", "0.5,0.5", "-o", scene / "out"]
    done = in_process("render", *photos, *aimed, "--disparity", scene / "disparity.png")
    assert done.code == 2
    assert "is the map of one photo, but there are 2; name a folder" in done.err
    assert in_process("render", *photos, *aimed, "--disparity", maps).code == 0
    assert len(list((scene / "out").iterdir())) == 2


def test_sixteen_bits_stay_sixteen(in_process, scene):
    deep = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
    Image.fromarray(deep).save(scene / "photo.png")
    done = in_process(
        "render", scene / "photo.png", "-o", scene / "out.tif", "--focus-mask", scene / "mask.png", "--aperture", "0.2"
    )
    assert done.code == 0, done.err
    from lensblend.data.originals import read_original

    photo, bokeh = (read_original(scene / name).pixels.astype(int) for name in ("photo.png", "out.tif"))
    assert np.abs(photo[20:40, 35:55] - bokeh[20:40, 35:55]).max() <= 2
    assert (bokeh % 257 != 0).any()


BAD = {
    "--strength nan": "`--strength` is above 0; 2 is twice as wide a blur, but got 'nan'.",
    "--strength 0": "`--strength` is above 0",
    "--f-number -2": "`--f-number` is above 0; use 2.8, but got '-2'.",
    "--strength 2 --f-number 2": "`--strength` and `--f-number` all say how wide the blur is; give one of them.",
    "--focus 1": "`--focus` is X,Y, two numbers from the upper left corner",
    "--focus=-1,3 --disparity disparity.png": "but got '-1,3'; use 0.5,0.5 for the middle.",
    "--focus nan,3": "but got 'nan,3'",
    "--focus 500,3 --disparity disparity.png": "`--focus 500,3` lies outside of the photo of 90×60 pixels",
    "--focus-at 0.5": "`--focus-at 0.5` is a disparity, and there is none: give `--disparity SOURCE`",
    "--focus-at 2 --disparity disparity.png": "is a disparity from 0 (farthest) to 1 (nearest), but got '2'",
    "--focus 0.5,0.5 --focus-mask mask.png": "`--focus` and `--focus-mask` all say what is in focus; give one of them.",
    "--focus-mask missing.png": "`--focus-mask missing.png` does not exist; correct the path.",
    "--focus-mask disparity.npy": "`--focus-mask disparity.npy` does not exist",
    "--blades 6": "`--blades` would have no effect: a network renders; leave it out, or ask for the thin lens",
    "--blades 2 --focus-mask mask.png": "`blades` is 3 to 32, or 0 for a round aperture, but got 2; use 6.",
    "--blades x --focus-mask mask.png": "`--blades` is a whole number",
    "--rotation 3 --focus-mask mask.png": "`--rotation` turns the blades of an aperture",
    "--cats-eye 1.5 --focus-mask mask.png": "`--cats-eye` is from 0 to 1; use 0.5, but got '1.5'.",
    "--highlights inf --focus-mask mask.png": "`--highlights` is from 0 to 1000",
    "--aperture 3 --focus-mask mask.png": "makes discs of 3 of the photo's width",
    "--focus-mask black.png": "The mask of what is in focus is black everywhere",
}


@pytest.mark.parametrize(("request_", "said"), BAD.items())
def test_bad_requests_get_one_line_with_the_remedy(in_process, scene, monkeypatch, request_, said):
    Image.new("L", (WIDTH, HEIGHT)).save(scene / "black.png")
    done = in_process("render", "photo.png", "-o", "out.png", *request_.split(), cwd=scene)
    assert done.code in (1, 2)
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (scene / "out.png").exists()


def test_strength_and_f_number_scale_the_blurs_of_a_trained_network(in_process, trained, picture, scene):
    """The run was trained on embedded pairs, whose discs are those of f/2.88."""
    whole = (slice(None), slice(None))
    plain, double, wide, narrow = (
        rendered(in_process, picture, scene, "--model", trained, *extra)[0]
        for extra in ([], ["--strength", "2"], ["--f-number", "1.44"], ["--f-number", "5.76"])
    )
    assert np.array_equal(double, wide)
    assert texture(double, *whole) < texture(plain, *whole) < texture(narrow, *whole)


class Sharp(BokehNetwork):
    """Stands for a network in messages."""


def test_a_click_beside_the_subject_is_answered_with_what_is_needed():
    weights = [np.zeros((HEIGHT, WIDTH), np.uint8)]
    weights[0][:, :45] = 255
    check_aim((0.2, 0.5), weights, Sharp())
    check_aim((30.0, 20.0), weights, Sharp())
    with pytest.raises(
        DataError,
        match=r"`--focus 0.8,0.5` is not on the subject that Sharp keeps sharp \(its share of the photo there is "
        r"0.00\); to focus elsewhere, give `--disparity SOURCE`",
    ):
        check_aim((0.8, 0.5), weights, Sharp())
    with pytest.raises(DataError, match="Sharp does not tell what it keeps sharp"):
        check_aim((0.2, 0.5), [], Sharp())


def test_a_click_with_a_network_is_checked_on_its_own_weights(in_process, trained, scene):
    """The network is untrained, and shares its weights out evenly."""
    done = in_process("render", scene / "photo.png", "-o", scene / "out.png", "--model", trained, "--focus", "0.9,0.5")
    assert done.code == 1
    assert "is not on the subject that DepthBlend keeps sharp" in done.err


def test_an_unknown_f_number_of_the_training_is_said():
    from types import SimpleNamespace

    with pytest.raises(RequestError, match=r"run does not say at which f-number it was trained, .* use `--strength`"):
        Controls(f_number=2.0).strength_for(SimpleNamespace(path="run", f_number=None))
    assert Controls(f_number=2.0).strength_for(SimpleNamespace(path="run", f_number=1.0)) == 0.5


def test_a_blur_behind_a_mask_is_that_of_the_visible_wall_alone(in_process, picture, scene):
    """Normalised convolution by SciPy, of what lies well off the mask."""
    photo, mask = picture(scene / "photo.png"), picture(scene / "mask.png")
    bokeh, _ = rendered(in_process, picture, scene, "--focus-mask", scene / "mask.png", "--aperture", str(9 / WIDTH))
    light = np.where(photo <= 10, photo / 255 / 12.92, ((photo / 255 + 0.055) / 1.055) ** 2.4)
    counts = ndimage.maximum_filter(mask, 3) == 0
    fine = (np.arange(9 * 31) + 0.5) / 31 - 4.5
    disc = (fine[:, None] ** 2 + fine**2 <= 4.5**2).reshape(9, 31, 9, 31).mean(axis=(1, 3))
    total, weight = (
        ndimage.convolve(plane, disc[..., None] if plane.ndim == 3 else disc, mode="reflect")
        for plane in (light * counts[..., None], counts.astype(float))
    )
    blurred = total / np.maximum(weight, 1e-9)[..., None]
    expected = 255 * np.where(blurred <= 0.0031308, 12.92 * blurred, 1.055 * blurred ** (1 / 2.4) - 0.055)
    assert np.abs(bokeh[counts] - expected[counts]).max() < 1.5
