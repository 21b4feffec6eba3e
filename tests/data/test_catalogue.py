import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lensblend.data.catalogue import EBB_TRAIN, EBB_VAL294, Ebb, Folders, hash_fraction
from lensblend.data.lists import read_ids
from lensblend.data.pairs import Pairs, Source
from lensblend.errors import DataError, RequestError

SAMPLE = Path(__file__).parents[2] / "../shared/data/ebb-sample"


def image(path, value=0, size=(8, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), (value % 256, value // 256, 9)).save(path, quality=100)


def challenge(root, ids, suffix="jpg"):
    for i in ids:
        image(root / f"Training/original/{i}.{suffix}", i)
        image(root / f"Training/bokeh/{i}.{suffix}", i + 1)


def test_shipped_lists_are_the_published_split():
    train, val = read_ids(EBB_TRAIN), read_ids(EBB_VAL294)
    assert (len(train), len(val)) == (4400, 294)
    assert train + val == [str(i) for i in range(4694)]


def test_challenge_layout(tmp_path):
    challenge(tmp_path, [0, 10, 2, 4399, 4400, 4693, 4694])
    ebb = Ebb(str(tmp_path))
    assert isinstance(ebb, Source)
    assert isinstance(ebb.split("train"), Pairs)
    assert ebb.split("train").ids == ["0", "2", "10", "4399"]
    assert ebb.split("val").ids == ["4400", "4693"]
    assert ebb.counts == {"train": 4, "val": 2}
    assert ebb.summary() == (
        f"EBB! at {tmp_path}: 4 of 4400 training pairs, 2 of 294 validation pairs (layout: challenge)"
    )
    pair = ebb.split("train").load(2)
    assert pair.id == "10"
    assert abs(int(pair.photo[0, 0, 0]) - 10) <= 2
    assert abs(int(pair.target[0, 0, 0]) - 11) <= 2
    assert pair.maps == {}


def test_pynet_layout_reads_disparity_and_keeps_its_test_apart(tmp_path):
    for folder in ("train", "test"):
        for kind in ("original", "bokeh"):
            image(tmp_path / folder / kind / "0.jpg", 50 if folder == "test" else 5)
        maps = tmp_path / folder / "original_depth/0.png"
        maps.parent.mkdir()
        cv2.imwrite(str(maps), np.full((4, 6), 51, dtype=np.uint8))
    ebb = Ebb(str(tmp_path))
    assert ebb.layout == "pynet"
    assert (ebb.split("train").ids, ebb.split("val").ids) == (["0"], [])
    pair = ebb.split("train").load(0)
    assert abs(int(pair.photo[0, 0, 0]) - 5) <= 2
    np.testing.assert_allclose(
        pair.maps["disparity"], np.full((8, 12), 0.2), atol=1e-6
    )  # half-size maps, as PyNET stores them
    rows = tmp_path / "val.csv"
    rows.write_text("original,bokeh\n./test/original/0.jpg,./test/bokeh/0.jpg\n")
    named = Ebb(str(tmp_path), val_list=str(rows))
    assert named.split("val").ids == ["test-0"]
    assert abs(int(named.split("val").load(0).photo[0, 0, 0]) - 50) <= 2


def test_ebokehnet_layout(tmp_path):
    for i in (7, 4400):
        image(tmp_path / f"{i:05d}_src.jpg", 1)
        image(tmp_path / f"{i:05d}_tgt.jpg", 200)
    ebb = Ebb(str(tmp_path))
    assert ebb.layout == "ebokehnet"
    assert (ebb.split("train").ids, ebb.split("val").ids) == (["7"], ["4400"])
    assert ebb.split("train").load(0).target[0, 0, 0] > 190


@pytest.mark.parametrize(
    "text",
    [
        "3\n1\n",
        "id\n3\n1\n",
        "\ufeffphoto\r\n0003.jpg\r\n\r\n1.png\r\n",
        "# chosen by hand\n3\n1\n",
        "bokeh,original\n./Training/bokeh/3.jpg,./Training/original/3.jpg\nTraining/bokeh/1.jpg,Training/original/1.jpg\n",
        "Training\\original\\3.jpg,Training\\bokeh\\3.jpg\n1_src.jpg,1_tgt.jpg\n",
    ],
)
def test_lists_in_every_form(tmp_path, text):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8", newline="")
    assert read_ids(tmp_path / "list.csv") == ["3", "1"]


def test_wrong_lists_are_refused(tmp_path):
    path = tmp_path / "list.csv"
    for text, error, part in (
        ("1\n2\n1\n", DataError, "names 1 more than once"),
        ("a/1.jpg,b/2.jpg\n", DataError, "row a/1.jpg,b/2.jpg"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=part):
            read_ids(path)
    with pytest.raises(RequestError, match=r"no readable list"):
        read_ids(tmp_path / "missing.csv")


def test_own_lists_decide_split_and_order(tmp_path):
    challenge(tmp_path, range(6))
    (tmp_path / "train.csv").write_text("5\n0\n")
    (tmp_path / "val.csv").write_text("3\n")
    lists = {"train_list": str(tmp_path / "train.csv"), "val_list": str(tmp_path / "val.csv")}
    ebb = Ebb(str(tmp_path), **lists)
    assert (ebb.split("train").ids, ebb.split("val").ids) == (["5", "0"], ["3"])
    (tmp_path / "val.csv").write_text("3\n0\n")
    with pytest.raises(RequestError, match=r"share 1 ids \(0\)"):
        Ebb(str(tmp_path), **lists)


def test_a_test_list_is_a_split_of_its_own(tmp_path):
    challenge(tmp_path, [0, 1, 4400, 4401, 4402])
    lists = {name: tmp_path / f"{name}.csv" for name in ("val_list", "test_list")}
    lists["val_list"].write_text("4400\n")
    lists["test_list"].write_text("4402\n4401\n4499\n")
    given = {name: str(path) for name, path in lists.items()}
    ebb = Ebb(str(tmp_path), **given, exclude=[4401])
    assert (ebb.split("train").ids, ebb.split("val").ids, ebb.test().ids) == (["0", "1"], ["4400"], ["4402"])
    assert ebb.summary() == (
        f"EBB! at {tmp_path}: 2 of 4400 training pairs, 1 of 1 validation pairs, 1 of 3 test pairs (layout: challenge)"
    )
    assert Ebb(str(tmp_path)).test().ids == []
    for part, shared in (("val", "4400"), ("train", "1")):
        lists["test_list"].write_text(f"4402\n{shared}\n")
        with pytest.raises(RequestError, match=rf"`{part}_list` and `test_list` share 1 ids \({shared}\); keep them"):
            Ebb(str(tmp_path), **given)


def test_two_folders_hold_test_pairs(tmp_path):
    for part, names in {"": "abcd", "val_": "ef", "test_": "g"}.items():
        for kind, name in itertools.product(("photos", "targets"), names):
            image(tmp_path / f"{part}{kind}" / f"{name}.png", ord(name))
    train = {kind: str(tmp_path / kind) for kind in ("photos", "targets")}
    val, test = ({f"{p}_{k}": str(tmp_path / f"{p}_{k}") for k in ("photos", "targets")} for p in ("val", "test"))
    source = Folders(**train, **val, **test)
    assert (source.split("train").ids, source.split("val").ids, source.test().ids) == (list("abcd"), ["e", "f"], ["g"])
    assert source.test().load(0).photo[0, 0, 0] == ord("g")
    assert source.summary().endswith("4 training pairs, 2 validation pairs, 1 test pairs")
    share = Folders(**train, **test, val_fraction=0.2)
    assert sorted([*share.split("train").ids, *share.split("val").ids]) == list("abcd")
    assert (share.test().ids, Folders(**train).test().ids) == (["g"], [])
    for known in ("photos", "val_photos"):
        for kind in ("photos", "targets"):
            image(tmp_path / f"test_{kind}" / ("a.png" if known == "photos" else "e.png"), 1)
        where = f"{tmp_path / known}` and in `{tmp_path / 'test_photos'}"
        with pytest.raises(DataError, match=re.escape(where)):
            Folders(**train, **val, **test)
        for kind in ("photos", "targets"):
            (tmp_path / f"test_{kind}" / ("a.png" if known == "photos" else "e.png")).unlink()
    with pytest.raises(RequestError, match="`test_photos` and `test_targets` go together"):
        Folders(**train, test_photos=test["test_photos"])
    with pytest.raises(RequestError, match="test_targets"):
        Folders(**train, test_photos=test["test_photos"], test_targets=test["test_photos"])


def test_exclude_takes_a_list_or_a_file(tmp_path):
    challenge(tmp_path, [1, 2, 3, 4400])
    (tmp_path / "unclean.txt").write_text("2\n4400\n")
    assert Ebb(str(tmp_path), exclude=[1, "0003"]).split("train").ids == ["2"]
    by_file = Ebb(str(tmp_path), exclude=str(tmp_path / "unclean.txt"))
    assert by_file.counts == {"train": 2, "val": 0}
    with pytest.raises(RequestError, match="names 99999, which no list holds"):
        Ebb(str(tmp_path), exclude=[99999])


def test_all_problems_are_listed_at_once(tmp_path):
    challenge(tmp_path, [0, 1, 2, 3, 4, 5, 6, 4694])
    original, bokeh = tmp_path / "Training/original", tmp_path / "Training/bokeh"
    (bokeh / "1.jpg").unlink()
    (original / "2.jpg").unlink()
    image(bokeh / "3.jpg", size=(8, 13))
    image(bokeh / "4.jpg", size=(12, 8))
    image(original / "0005.png")
    (original / "6.jpg").write_bytes(b"<html>")
    (bokeh / "4694.jpg").unlink()  # in no list: nobody asked for it
    with pytest.raises(DataError) as caught:
        Ebb(str(tmp_path))
    message = str(caught.value)
    assert "6 problem(s)" in message
    assert len(re.findall("^- ", message, re.MULTILINE)) == 6
    for part in (
        "`1` has no target",
        "`2` has no photo",
        "`3` are 8×12 and 8×13",
        "`4` are 8×12 and 12×8 (height×width), portrait against landscape",
        "`5` is there 2 times as photo: 0005.png, 5.jpg",
        f"`{original / '6.jpg'}` is no readable image",
    ):
        assert part in message
    assert Ebb(str(tmp_path), exclude=[1, 2, 3, 4, 5, 6]).split("train").ids == ["0"]


def test_a_sideways_photo_is_compared_upright(tmp_path):
    challenge(tmp_path, [0])
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (8, 12)).save(tmp_path / "Training/original/0.jpg", exif=exif)
    pair = Ebb(str(tmp_path)).split("train").load(0)
    assert pair.photo.shape == pair.target.shape == (8, 12, 3)


def test_long_listings_are_cut_after_twenty(tmp_path):
    challenge(tmp_path, range(30))
    shutil.rmtree(tmp_path / "Training/bokeh")
    with pytest.raises(DataError, match="30 problem") as caught:
        Ebb(str(tmp_path))
    assert str(caught.value).count("has no target") == 20
    assert str(caught.value).endswith("- and 10 more")


def test_wrong_roots_name_the_key_and_the_layouts(tmp_path):
    for root, layout in ((tmp_path / "missing", "auto"), (tmp_path, "auto"), (tmp_path, "pynet")):
        with pytest.raises(RequestError, match=r"`data.root`.*Training/\{original,bokeh\}/N.jpg"):
            Ebb(str(root), layout=layout)
    with pytest.raises(RequestError, match="one of auto, challenge, pynet, ebokehnet, but got 'zip'"):
        Ebb(str(tmp_path), layout="zip")
    challenge(tmp_path, [9999])
    with pytest.raises(RequestError, match="no pair of the lists"):
        Ebb(str(tmp_path))
    with pytest.raises(RequestError, match="has not the layout pynet"):
        Ebb(str(tmp_path), layout="pynet")


def test_a_file_that_changed_since_is_checked_again(tmp_path):
    challenge(tmp_path, [0])
    pairs = Ebb(str(tmp_path)).split("train")
    image(tmp_path / "Training/bokeh/0.jpg", size=(12, 8))
    with pytest.raises(DataError, match=r"`0` are 8×12 and 12×8"):
        pairs.load(0)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the EBB! sample is not on this machine")
def test_real_pairs():
    ebb = Ebb(str(SAMPLE))
    assert ebb.summary().endswith("3 of 4400 training pairs, 0 of 294 validation pairs (layout: challenge)")
    assert ebb.split("train").ids == ["2977", "2978", "2979"]
    assert len(ebb.split("val").ids) == 0
    pair = ebb.split("train").load(0)
    assert pair.photo.shape == pair.target.shape == (1024, 1536, 3)
    for name, pixels in (("original", pair.photo), ("bokeh", pair.target)):
        decoded = cv2.imread(str(SAMPLE / "Training" / name / "2977.jpg"))[..., ::-1]
        assert np.abs(decoded.astype(int) - pixels).max() <= 1


def folders(root, names):
    for name in names:
        image(root / "photos" / f"{name}.jpg", 10)
        image(root / "targets" / f"{name}.png", 20)
    return {"photos": str(root / "photos"), "targets": str(root / "targets")}


def test_folders_pair_up_by_name(tmp_path):
    arguments = folders(tmp_path, ["b10", "b2", "Größe"])
    source = Folders(**arguments)
    assert isinstance(source, Source)
    assert source.split("train").ids == ["b2", "b10", "Größe"]
    assert source.split("val").ids == []
    assert source.split("train").load(0).target[0, 0, 0] == 20
    assert source.summary().endswith("3 training pairs, 0 validation pairs")


def test_validation_share_depends_on_names_alone(tmp_path):
    names = [f"p{i}" for i in range(200)]
    arguments = folders(tmp_path, names)
    fraction = 0.25
    before = Folders(**arguments, val_fraction=fraction)
    train, val = set(before.split("train").ids), set(before.split("val").ids)
    assert train | val == set(names)
    assert not train & val
    assert 26 <= len(val) <= 74  # 50 expected; four standard deviations of a binomial(200, 1/4) are 24
    folders(tmp_path, [f"a{i}" for i in range(50)])
    after = Folders(**arguments, val_fraction=fraction)
    assert val <= set(after.split("val").ids)
    assert train <= set(after.split("train").ids)


def test_hash_is_the_same_in_every_process():
    code = "import json; from lensblend.data.catalogue import hash_fraction; print(json.dumps(hash_fraction('a')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == hash_fraction("a")


def test_folders_with_own_validation(tmp_path):
    arguments = folders(tmp_path, ["a", "b"])
    other = folders(tmp_path / "val", ["c"])
    own = {"val_photos": other["photos"], "val_targets": other["targets"]}
    source = Folders(**arguments, **own)
    assert (source.split("train").ids, source.split("val").ids) == (["a", "b"], ["c"])
    folders(tmp_path / "val", ["a"])
    with pytest.raises(DataError, match=r"`a` is in `.*photos` and in `.*val/photos`"):
        Folders(**arguments, **own)
    with pytest.raises(RequestError, match="give both"):
        Folders(**arguments, val_photos=other["photos"])
    with pytest.raises(RequestError, match="leave `val_fraction`"):
        Folders(**arguments, **own, val_fraction=0.5)


def test_masks_and_disparities_belong_to_their_photo(tmp_path):
    arguments = folders(tmp_path, ["a", "b"])
    ramp = np.linspace(0, 3, 96, dtype=np.float32).reshape(8, 12)
    (tmp_path / "maps").mkdir()
    (tmp_path / "masks").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / "maps" / f"{name}.npy", ramp)
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), ((ramp > 1) * 255).astype(np.uint8))
    maps = {"masks": str(tmp_path / "masks"), "disparities": str(tmp_path / "maps")}
    pair = Folders(**arguments, **maps).split("train").load(1)
    np.testing.assert_array_equal(pair.maps["disparity"], ramp)
    np.testing.assert_array_equal(pair.maps["mask"], ramp > 1)
    (tmp_path / "maps/b.npy").unlink()
    (tmp_path / "masks/a.png").unlink()
    with pytest.raises(DataError, match=r"(?s)2 problem.*`a` has no mask.*`b` has no disparity"):
        Folders(**arguments, **maps)


def test_wrong_folders_are_refused(tmp_path):
    arguments = folders(tmp_path, ["a", "b"])
    image(tmp_path / "photos/c.jpg")
    image(tmp_path / "targets/d.png")
    with pytest.raises(DataError, match=r"(?s)2 problem.*`c` has no target.*`d` has no photo"):
        Folders(**arguments)
    for fraction in (-0.1, 1.0):
        with pytest.raises(RequestError, match=r"`val_fraction` is in \[0, 1\), but got"):
            Folders(**arguments, val_fraction=fraction)
    with pytest.raises(RequestError, match=r"`targets` = `.*missing` is not a folder"):
        Folders(arguments["photos"], str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"`photos` = `.*empty` holds no image"):
        Folders(str(tmp_path / "empty"), arguments["targets"])
