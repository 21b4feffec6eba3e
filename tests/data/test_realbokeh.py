from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lensblend.data.catalogue import hash_fraction
from lensblend.data.pairs import Pairs, Source
from lensblend.data.realbokeh import RealBokeh
from lensblend.data.samples import Samples
from lensblend.errors import DataError, RequestError

SAMPLE = Path(__file__).parents[2] / "../shared/data/realbokeh-sample"


def image(path, value=0, size=(8, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), (int(value), 0, 9)).save(path)


def scene(root, name, *apertures, suffix="png"):
    """A scene whose photos show ten times their f-number."""
    for aperture in apertures:
        image(root / name / f"f{aperture}.{suffix}", 10 * float(aperture))


def realbokeh(root, part, name, *apertures):
    image(root / part / "in" / f"{name}_f22.JPG", 220)
    for aperture in apertures:
        image(root / part / "gt" / name / f"{name}_f{aperture}.JPG", 10 * float(aperture))


@pytest.fixture
def scenes(tmp_path):
    for name in ("7", "10", "0012", "a b"):
        scene(tmp_path, name, "2.0", "7.1", "14", "22")
    return tmp_path


def both(source):
    return [*source.split("train").ids, *source.split("val").ids]


def test_pairs_are_called_after_scene_and_f_number_and_carry_it(scenes):
    source = RealBokeh(str(scenes), val_fraction=0.0)
    assert isinstance(source, Source)
    pairs = source.split("train")
    assert isinstance(pairs, Pairs)
    assert pairs.ids == [f"{name}-{f}" for name in ("7", "10", "12", "a b") for f in ("f2.0", "f7.1", "f14")]
    for index, f_number in enumerate([2.0, 7.1, 14.0]):
        pair = pairs.load(index)
        assert pair.f_number == pairs.f_number(index) == f_number
        assert pair.photo[0, 0].tolist() == [220, 0, 9]
        assert pair.target[0, 0].tolist() == [int(10 * f_number), 0, 9]
    batch = next(iter(torch.utils.data.DataLoader(Samples(pairs), batch_size=3)))
    torch.testing.assert_close(batch["f_number"], torch.tensor([2.0, 7.1, 14.0]))
    assert source.summary() == (
        f"{scenes}: 12 training pairs (scenes: 4), 0 validation pairs (scenes: 0), "
        "targets at f/2.0–f/14 (layout: scenes)"
    )


def test_f_numbers_are_chosen(scenes):
    scene(scenes, "odd", "2.8", "22")
    source = RealBokeh(str(scenes), f_numbers=[2, 2.8], val_fraction=0.0)
    assert source.split("train").ids == ["7-f2.0", "10-f2.0", "12-f2.0", "a b-f2.0", "odd-f2.8"]
    assert (RealBokeh.f_number({"f_numbers": [2]}), RealBokeh.f_number({"f_numbers": None})) == (2.0, None)
    only = RealBokeh(str(scenes), photo_f_number=14, f_numbers=[2], exclude=["odd"], val_fraction=0.0)
    assert only.split("train").load(0).photo[0, 0, 0] == 140
    assert "targets at f/2.0 (layout" in only.summary()


def test_a_scene_is_in_one_split_and_stays_there(tmp_path):
    names = [str(number) for number in range(40)]
    for name in names:
        scene(tmp_path, name, "2.0", "4.0", "22")
    source = RealBokeh(str(tmp_path), val_fraction=0.3)
    train, val = ({pair.partition("-")[0] for pair in source.split(part).ids} for part in ("train", "val"))
    assert train | val == set(names)
    assert not train & val
    assert val == {name for name in names if hash_fraction(name) < 0.3}
    assert 5 <= len(val) <= 20
    scene(tmp_path, "new", "2.0", "22")
    again = RealBokeh(str(tmp_path), val_fraction=0.3)
    assert {pair for pair in again.split("val").ids if not pair.startswith("new")} == set(source.split("val").ids)


def test_lists_name_scenes_or_pairs(scenes):
    (scenes / "train.csv").write_text("7\n0012-f2.0\n12-f14\n")
    (scenes / "val.csv").write_text("# held out\n10\nabsent\n")
    lists = {"train_list": str(scenes / "train.csv"), "val_list": str(scenes / "val.csv")}
    with pytest.raises(RequestError, match="leaves no pair"):
        RealBokeh(str(scenes), exclude=["7", "10", "12", "a b"], **lists)
    source = RealBokeh(str(scenes), exclude=["7-f7.1", "10-f14"], **lists)
    assert source.split("train").ids == ["7-f2.0", "7-f14", "12-f14"]
    assert source.split("val").ids == ["10-f2.0", "10-f7.1"]
    (scenes / "val.csv").write_text("12-f2.0\n")
    with pytest.raises(RequestError, match=r"share 1 scenes \(12\)"):
        RealBokeh(str(scenes), **lists)
    with pytest.raises(RequestError, match="go together"):
        RealBokeh(str(scenes), train_list=lists["train_list"])
    (scenes / "val.csv").write_text("10\n")
    (scenes / "test.csv").write_text("a b\n")
    held_out = RealBokeh(str(scenes), test_list=str(scenes / "test.csv"), **lists)
    assert held_out.test().ids == ["a b-f2.0", "a b-f7.1", "a b-f14"]
    assert "3 test pairs (scenes: 1)" in held_out.summary()
    assert RealBokeh(str(scenes), **lists).test().ids == RealBokeh(str(scenes)).test().ids == []
    (scenes / "test.csv").write_text("10-f14\n")
    with pytest.raises(RequestError, match=r"`val_list` and `test_list` share 1 scenes \(10\)"):
        RealBokeh(str(scenes), test_list=str(scenes / "test.csv"), **lists)
    with pytest.raises(RequestError, match=r"`test_list` = .* goes beside `train_list` and `val_list`; give all three"):
        RealBokeh(str(scenes), test_list=str(scenes / "test.csv"))
    (scenes / "exclude.txt").write_text("# proposed\n7\n10-f2.0\n")
    kept = both(RealBokeh(str(scenes), exclude=str(scenes / "exclude.txt")))
    assert "10-f2.0" not in kept
    assert {pair.partition("-")[0] for pair in kept} == {"10", "12", "a b"}


def test_the_published_layout_says_its_split(tmp_path):
    realbokeh(tmp_path, "train", "1", "2.0", "20")
    realbokeh(tmp_path, "train", "1001", "3.5")
    realbokeh(tmp_path, "validation", "1", "13")
    realbokeh(tmp_path, "test", "1", "2.0")
    source = RealBokeh(str(tmp_path))
    assert source.layout == "realbokeh"
    assert source.split("train").ids == ["1-f2.0", "1-f20", "1001-f3.5"]
    assert source.split("val").ids == ["validation-1-f13"]
    assert source.test().ids == ["test-1-f2.0"]
    assert abs(int(source.split("val").load(0).target[0, 0, 0]) - 130) <= 2
    (tmp_path / "train.csv").write_text("1\n")
    (tmp_path / "val.csv").write_text("test-1\n")
    source = RealBokeh(str(tmp_path), train_list=str(tmp_path / "train.csv"), val_list=str(tmp_path / "val.csv"))
    assert (source.split("train").ids, source.split("val").ids) == (["1-f2.0", "1-f20"], ["test-1-f2.0"])


def test_the_layout_of_vabd(tmp_path):
    for part in ("train", "test"):
        for folder, f_number in {"input": 16.0, "1_8": 1.8, "2_8": 2.8, "8": 8}.items():
            image(tmp_path / part / folder / "0003.png", 10 * f_number + (part == "test"))
    source = RealBokeh(str(tmp_path), val_fraction=0.0)
    assert (source.layout, source.photo_f_number) == ("vabd", 16)
    assert source.split("train").ids == ["3-f1.8", "3-f2.8", "3-f8.0"]
    pair = source.split("train").load(2)
    assert (pair.photo[0, 0, 0], pair.target[0, 0, 0], pair.f_number) == (160, 80, 8)


WRONG = {
    "no aperture of the photos": (
        lambda root: scene(root, "8", "2.0", "4.0"),
        "scene `8` has no f/22, but f/2.0, f/4.0",
    ),
    "no target": (lambda root: scene(root, "8", "22"), "scene `8` has no wider aperture, but f/22"),
    "an empty scene": (lambda root: (root / "8").mkdir(), "scene `8` has no f/22, but no photo"),
    "another size": (lambda root: image(root / "7/f2.0.png", size=(9, 12)), "`7-f2.0` are 8×12 and 9×12"),
    "one aperture twice": (lambda root: image(root / "7/f2.png"), "`7-f2.0` is there 2 times as target"),
    "a name without": (lambda root: image(root / "7/leaf2.png"), "ends with no f-number"),
    "beside the scenes": (lambda root: image(root / "f2.0.png"), "lies beside the scenes' folders"),
    "no image": (lambda root: (root / "7/f14.png").write_text("no"), "f14.png"),
    "names alike": (lambda root: scene(root, "12", "2.0", "22"), "are called alike"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_files_is_listed_at_once(scenes, case):
    make, says = WRONG[case]
    make(scenes)
    if case == "names alike":
        scene(scenes, "A B", "2.0", "22")
    scene(scenes, "last", "22")
    with pytest.raises(DataError, match="scene `last` has no wider aperture") as caught:
        RealBokeh(str(scenes))
    assert says in str(caught.value)


REFUSED = {
    "no folder": ({"root": "/nowhere"}, "is not a folder"),
    "another layout": ({"layout": "vabd"}, "has not the layout vabd"),
    "a misspelt layout": ({"layout": "scene"}, "did you mean 'scenes'"),
    "no f-numbers": ({"f_numbers": []}, "leaves no target"),
    "an f-number that none has": ({"f_numbers": [2.0, 3.0]}, "holds 3, at which no scene was taken; there are: 2, 7.1"),
    "a negative one": ({"f_numbers": [-2]}, "positive and finite, but got -2"),
    "a truth": ({"f_numbers": [True]}, "positive and finite, but got True"),
    "the photos'": ({"f_numbers": [22]}, "the aperture of the photos"),
    "photos at none": ({"photo_f_number": 16}, "is no aperture of these scenes"),
    "a share": ({"val_fraction": 1.0}, "in \\[0, 1\\), but got 1.0"),
    "an unknown exclusion": ({"exclude": ["7-f9.0"]}, "`exclude` names 7-f9.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_that_cannot_be_met_are_refused_in_a_line(scenes, case):
    changes, says = REFUSED[case]
    with pytest.raises(RequestError, match=says):
        RealBokeh(**{"root": str(scenes), **changes})


def test_a_folder_that_could_be_two_layouts_is_refused(scenes):
    realbokeh(scenes, "train", "1", "2.0")
    scene(scenes, "train", "2.0", "22")
    with pytest.raises(RequestError, match="could be scenes or realbokeh"):
        RealBokeh(str(scenes))


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the real sample is not here")
def test_the_real_sample():
    source = RealBokeh(str(SAMPLE), val_fraction=0.5)
    assert (len(source.split("train").ids), len(source.split("val").ids)) == (4, 4)
    assert sorted(both(source))[0] == "4641-f14"
    assert source.doubts() == []
    pairs = source.split("train")
    wide, narrow = (pairs.load(index) for index in (0, len(pairs.ids) - 1))
    assert wide.photo.shape == wide.target.shape == (1500, 2000, 3)
    np.testing.assert_array_equal(wide.photo, narrow.photo)
    with Image.open(SAMPLE / wide.id.partition("-")[0] / "f2.0.jpg") as opened:
        np.testing.assert_array_equal(wide.target, np.array(opened))
    differences = [np.abs(pair.photo.astype(int) - pair.target).mean() for pair in (wide, narrow)]
    assert differences[0] > 2 * differences[1]
