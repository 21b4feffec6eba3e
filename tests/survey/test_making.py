"""A study tells raters nothing of what they see, and its key tells everything."""

import itertools
import json
import os
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from lensblend.data.images import read_srgb
from lensblend.survey.making import Request, make
from lensblend.survey.pages import export
from lensblend.survey.study import read_key, read_study

SECRET = "alpha-net"
TOLD = [b"alpha-net", b"beta-net", b"gamma-net", b"photo-", b"targets"]


def give_away(path, suffix):
    """Write a rendering anew, with everything in its file that names the method."""
    pixels = Image.open(path).convert("RGB")
    path.unlink()
    exif = Image.Exif()
    exif[0x0131], exif[0x010E] = SECRET, SECRET
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET)
    more = {"pnginfo": text} if suffix == "png" else {"comment": SECRET.encode(), "quality": 95}
    pixels.save(path.with_suffix(f".{suffix}"), exif=exif, icc_profile=profile, **more)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("mode", ["levels", "pairs"])
def test_nothing_that_raters_get_names_a_method(folders, tmp_path, mode, suffix):
    for index, kind in enumerate(("png", "jpg", "png", "jpg")):
        give_away(folders[SECRET] / f"photo-{index}.png", kind)
    folder = tmp_path / "study"
    study = make(Request(tmp_path / "targets", folders, 3, mode, 1, suffix=suffix), folder)
    export(folder, study, tmp_path / "hosted")
    public = [
        p for p in (*folder.rglob("*"), *(tmp_path / "hosted").rglob("*")) if p.is_file() and p.name != "key.json"
    ]
    assert len(public) > 2 * len(study.images)
    for path in public:
        assert not [word for word in TOLD if word in path.read_bytes() or word in path.name.encode()], path
    for name in study.images:
        with Image.open(folder / "images" / name) as image:
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            assert image.size == (60, 40)
            assert not image.getexif()


def test_the_key_is_secret_and_says_what_each_image_is(folders, tmp_path, picture):
    before = os.umask(0)
    try:
        study = make(Request(tmp_path / "targets", folders, 3, catch=1), tmp_path / "study")
    finally:
        os.umask(before)
    assert (tmp_path / "study" / "key.json").stat().st_mode & 0o777 == 0o600
    key = json.loads((tmp_path / "study" / "key.json").read_text())["images"]
    assert {f"{name}.png" for name in key} == set(study.images) == set(os.listdir(tmp_path / "study" / "images"))
    for name, what in key.items():
        source = tmp_path / ("targets" if what["method"] == "target" else what["method"]) / f"{what['image']}.png"
        np.testing.assert_array_equal(picture(tmp_path / "study" / "images" / f"{name}.png"), picture(source))


def test_times_and_order_of_files_and_trials_follow_random_ids(made, tmp_path):
    study = made(tmp_path / "study", images=4)
    images = sorted((tmp_path / "study" / "images").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name for path in images] == study.images == sorted(study.images)
    assert [trial.id for trial in study.trials] == sorted(trial.id for trial in study.trials)


def test_every_method_is_shown_with_the_same_photos(made, tmp_path):
    study = made(tmp_path / "study", catch=2)
    key = read_key(tmp_path / "study", study)
    shown = [key.unblinded(trial) for trial in study.trials]
    photos = {image for image, *_ in shown}
    assert len(photos) == 3
    methods = {"alpha-net", "beta-net", "gamma-net"}
    ordinary = [(image, method) for image, method, _, expected in shown if expected is None]
    assert sorted(ordinary) == sorted(itertools.product(photos, methods))
    assert [(method, expected) for _, method, _, expected in shown if expected is not None] == [("target", 0)] * 2
    for trial in study.trials:
        assert key.images[trial.target].method == "target"
        assert key.images[trial.target].image == key.unblinded(trial)[0]
        assert trial.target not in trial.shown  # a catch trial shows a copy of its own


def test_pairs_are_all_pairs_and_the_first_is_no_hint(made, tmp_path):
    firsts = Counter()
    for number in range(2):
        study = made(tmp_path / str(number), "pairs", catch=2, images=4)
        key = read_key(tmp_path / str(number), study)
        shown = [key.unblinded(trial) for trial in study.trials]
        ordinary = Counter(frozenset(pair) for _, *pair, expected in shown if expected is None)
        assert ordinary == dict.fromkeys(
            map(frozenset, itertools.combinations(("alpha-net", "beta-net", "gamma-net"), 2)), 4
        )
        catch = [(method, other, expected) for _, method, other, expected in shown if expected is not None]
        assert len(catch) == 2
        assert set(catch) <= {("target", "blurred target", 1), ("blurred target", "target", 0)}
        firsts.update(method for _, method, _, expected in shown if expected is None)
    # Always in the order of the request, gamma-net would never be the first of 24.
    assert min(firsts[name] for name in ("alpha-net", "gamma-net")) > 0


def test_the_worse_of_a_catch_pair_is_the_target_blurred_heavily(made, tmp_path, picture):
    study = made(tmp_path / "study", "pairs")
    images = json.loads((tmp_path / "study" / "key.json").read_text())["images"]
    (blurred,) = [name for name, what in images.items() if what["method"] == "blurred target"]
    target = next(n for n, w in images.items() if w == {"image": images[blurred]["image"], "method": "target"})
    expected = cv2.GaussianBlur(picture(tmp_path / "study" / "images" / f"{target}.png"), (0, 0), 0.02 * 60)
    np.testing.assert_array_equal(picture(tmp_path / "study" / "images" / f"{blurred}.png"), expected)
    assert f"{blurred}.png" in study.images


def test_a_seed_chooses_the_photos_and_no_ids(made, tmp_path):
    def photos(name, seed):
        study = made(tmp_path / name, seed=seed)
        key = read_key(tmp_path / name, study)
        return {key.unblinded(trial)[0] for trial in study.trials}, {trial.id for trial in study.trials}

    (first, ids), (again, others), (third, _) = photos("a", 0), photos("b", 0), photos("c", 1)
    assert first == again != third
    assert not ids & others


def test_colours_are_what_the_profile_says(tmp_path):
    """A profile whose red is sRGB's green: what is stored as red is seen green, and so it is written."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png", icc_profile=swapped)
    np.testing.assert_allclose(read_srgb(tmp_path / "red.png")[0, 0], [0, 255, 0], atol=2)
    Image.new("RGB", (8, 8), (200, 10, 30)).save(tmp_path / "plain.png")
    assert read_srgb(tmp_path / "plain.png")[0, 0].tolist() == [200, 10, 30]


def test_what_is_read_again_is_what_was_made(made, tmp_path):
    for mode in ("levels", "pairs"):
        assert made(tmp_path / mode, mode, title="</script><b>…") == read_study(tmp_path / mode)


BAD = {
    "no images": (["alpha-net=alpha-net"], 2, "holds 4 images, fewer than --images 10; add --images 4"),
    "no name": (["alpha-net"], 2, "A method is NAME=FOLDER"),
    "a name twice": (["a=alpha-net", "a=beta-net"], 2, "`a` names two folders"),
    "a folder twice": (["a=alpha-net", "b=alpha-net", "--images", "2"], 2, "`a` and `b` are one folder"),
    "the targets": (["a=targets", "--images", "2"], 2, "`--targets` and `a` are one folder"),
    "a catch trial's name": (["target=alpha-net", "--images", "2"], 2, "`target` is what catch trials are called"),
    "an odd name": (["a\x1b[2J=alpha-net", "--images", "2"], 2, "A method's name is 1 to 100 letters"),
    "too many catch trials": (["a=alpha-net", "--images", "2", "--catch", "3"], 2, "`--catch` is at most"),
    "one in pairs": (["a=alpha-net", "--images", "2", "--mode", "pairs"], 2, "needs 2 methods or more"),
    "a missing folder": (["a=nowhere", "--images", "2"], 2, "`nowhere` is not a folder"),
    "a missing file": (["a=lacking", "--images", "2"], 1, "photo-3: no prediction of this name"),
    "another size": (["a=other", "--images", "2"], 1, "photo-3: prediction is 8×8, target 40×60"),
    "a study": (["a=alpha-net", "--images", "2", "-o", "there"], 2, "`there` is there already"),
    "an empty title": (["a=alpha-net", "--images", "2", "--title", ""], 2, "`--title` is one line"),
    "no number": (["a=alpha-net", "--images", "0"], 2, "is a whole number from 1, but got '0'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_makes_no_study_is_said_in_one_line(in_process, folders, tmp_path, case):
    for name in ("lacking", "other"):
        (tmp_path / name).mkdir()
        for index in range(3):
            (tmp_path / name / f"photo-{index}.png").write_bytes(
                (tmp_path / "beta-net" / f"photo-{index}.png").read_bytes()
            )
    Image.new("RGB", (8, 8)).save(tmp_path / "other" / "photo-3.png")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "key.json").write_text("mine")
    arguments, code, said = BAD[case]
    output = [] if "-o" in arguments else ["-o", "study"]
    done = in_process("survey", "make", "--targets", "targets", *arguments, *output, cwd=tmp_path)
    assert (done.code, said in done.err) == (code, True), done.err
    assert not (tmp_path / "study").exists()
    assert (tmp_path / "there" / "key.json").read_text() == "mine"


def test_the_verb_makes_and_exports(in_process, folders, tmp_path):
    methods = [f"{name}={folder}" for name, folder in folders.items()]
    arguments = ["--targets", tmp_path / "targets", *methods, "--images", "3", "--title", "Mine"]
    done = in_process("survey", "make", *arguments, "-o", tmp_path / "study", cwd=tmp_path)
    assert (done.code, "11 trials a rater" in done.out) == (0, True), done.err
    assert read_study(tmp_path / "study").title == "Mine"
    for code in (0, 2):  # nothing is replaced
        done = in_process("survey", "export", tmp_path / "study", "-o", tmp_path / "hosted", cwd=tmp_path)
        assert done.code == code, done.err
    assert "key" not in "".join(os.listdir(tmp_path / "hosted"))
    assert len(list((tmp_path / "hosted" / "images").iterdir())) == 3 * 4 + 2
