"""Maps that guide or supervise: from the data set, from files, from prior networks, kept once computed."""

import numpy as np
import pytest
import torch
from skimage.transform import resize
from torch import nn

from lensblend.data import pairs
from lensblend.data.files import FilePairs, PairFiles
from lensblend.data.images import write_image
from lensblend.data.pairs import Pair
from lensblend.data.transforms import resize_map
from lensblend.errors import DataError, RequestError, WeightsMissingError
from lensblend.inference.guidance import FromPair, MapFiles, Truth, build_guides, guidance_of
from lensblend.inference.guided_pairs import Afresh, Guided, GuidedSource
from lensblend.inference.prior_maps import NetworkMap, estimate, estimates
from lensblend.nn.rendering import PriorNetwork


class Brightness(PriorNetwork):
    """Call what is bright salient, and count how often it is asked."""

    estimates = ("saliency",)
    asked = 0

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(8.0))

    def forward(self, photo):
        Brightness.asked += 1
        return {"saliency_logits": self.gain * (photo.mean(1, keepdim=True) - 0.5)}

    def load_published(self, path):
        self.load_state_dict(torch.load(path, weights_only=True))


class Pairs(pairs.Pairs):
    """Three pairs of smooth random photos."""

    ids = ("a", "b", "c")

    def load(self, index, epoch=0):
        rng = np.random.default_rng(index)
        photo = (resize(rng.random((4, 5, 3)), (40, 60, 3), order=1) * 255).astype(np.uint8)
        mask = np.zeros((40, 60), dtype=np.bool_)
        mask[:, : 10 * index + 10] = True
        return Pair(self.ids[index], photo, photo, {"disparity": rng.random((40, 60), dtype=np.float32), "mask": mask})


class Source(pairs.Source):
    def split(self, name):
        return Pairs()


@pytest.fixture(autouse=True)
def counted(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSBLEND_CACHE", str(tmp_path / "cache"))
    Brightness.asked = 0


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "published.pth"
    torch.save({"gain": torch.tensor(6.0)}, file)
    return file


def test_truth_is_the_data_sets_own(weights):
    pair = Pairs().load(1)
    assert Truth("saliency")(pair).dtype == np.float32
    np.testing.assert_array_equal(Truth("saliency")(pair), pair.maps["mask"])
    np.testing.assert_array_equal(Truth("disparity")(pair), pair.maps["disparity"])


@pytest.mark.parametrize(("name", "part"), [("saliency", "mask"), ("disparity", "disparity")])
def test_truth_that_is_not_there_is_said_with_other_sources(name, part):
    photo = np.zeros((40, 60, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=rf"`x` has no {part}, .*{name}=file {name}.folder=DIR.*render --{name} SOURCE"):
        Truth(name)(Pair("x", photo, None))


def test_files_are_found_by_the_photos_name_and_resized(tmp_path):
    ramp = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))
    write_image(tmp_path / "maps" / "a.png", ramp)
    np.save(tmp_path / "maps" / "b.npy", ramp / np.float32(255))
    guide = MapFiles("saliency", str(tmp_path / "maps"))
    by_image, by_array = guide(Pairs().load(0)), guide(Pairs().load(1))
    assert by_image.shape == (40, 60)
    np.testing.assert_allclose(by_image, by_array, atol=1e-6)
    np.testing.assert_allclose(by_image, resize(ramp / 255.0, (40, 60), order=1, mode="edge"), atol=1e-6)


def test_files_that_are_missing_doubled_or_out_of_range_are_refused(tmp_path):
    folder = tmp_path / "maps"
    write_image(folder / "b.png", np.zeros((4, 4), dtype=np.uint8))
    np.save(folder / "b.npy", np.zeros((4, 4), dtype=np.float32))
    np.save(folder / "c.npy", np.full((4, 4), 7, dtype=np.float32))
    guide = MapFiles("disparity", str(folder))
    with pytest.raises(DataError, match=r"`a` needs one disparity map in .*, but there are 0; name it a\.png"):
        guide(Pairs().load(0))
    with pytest.raises(DataError, match="but there are 2"):
        guide(Pairs().load(1))
    with pytest.raises(DataError, match=r"c.npy` holds values from 7 to 7, but disparity is in \[0, 1\]"):
        guide(Pairs().load(2))
    with pytest.raises(RequestError, match=r"`saliency\.folder` = `nowhere` is not a folder"):
        MapFiles("saliency", "nowhere")


def test_a_networks_map_is_its_probability_at_the_photos_size(weights):
    guide = NetworkMap("saliency", Brightness(), str(weights), [40, 60])
    pair = Pairs().load(0)
    expected = 1 / (1 + np.exp(-6 * (pair.photo.mean(axis=2) / 255 - 0.5)))
    np.testing.assert_allclose(guide(pair), expected, atol=6e-4)  # kept in half precision
    small = NetworkMap("saliency", Brightness(), str(weights), [32, 32])(pair)
    assert small.shape == (40, 60)
    np.testing.assert_allclose(small, expected, atol=0.05)


def test_a_map_is_computed_once_per_photo_weights_and_size(weights, tmp_path):
    for _ in range(2):
        guide = NetworkMap("saliency", Brightness(), str(weights), [32, 48])
        first = guide(Pairs().load(0))
    assert Brightness.asked == 1
    guide(Pairs().load(1))
    assert Brightness.asked == 2
    torch.save({"gain": torch.tensor(-6.0)}, weights)
    other = NetworkMap("saliency", Brightness(), str(weights), [32, 48])(Pairs().load(0))
    assert Brightness.asked == 3
    np.testing.assert_allclose(other, 1 - first, atol=2e-3)


def test_a_stretched_map_reaches_from_zero_to_one_and_is_another_source(weights):
    plain, stretched = (
        NetworkMap("saliency", Brightness(), str(weights), [40, 60], norm=n) for n in ("none", "minmax")
    )
    before, after = (guide(Pairs().load(0)) for guide in (plain, stretched))
    assert 0 < before.min() < before.max() < 1
    np.testing.assert_allclose(after, (before - before.min()) / np.ptp(before), atol=2e-3)
    assert (after.min(), after.max()) == (0, 1)
    assert plain.identity != stretched.identity
    with pytest.raises(RequestError, match="`norm` is one of none, minmax, but got 'max'"):
        NetworkMap("saliency", Brightness(), str(weights), [40, 60], norm="max")


def test_a_damaged_map_is_computed_again(weights):
    guide = NetworkMap("saliency", Brightness(), str(weights), [32, 48])
    before = guide(Pairs().load(0))
    (file,) = guide.cache.folder.glob("*.npy")
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(guide(Pairs().load(0)), before)
    assert Brightness.asked == 2


def test_a_cache_that_cannot_be_written_costs_only_the_cache(weights, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    guide = NetworkMap("saliency", Brightness(), str(weights), [32, 48])
    np.testing.assert_array_equal(guide(Pairs().load(0)), guide(Pairs().load(0)))


def test_a_checkpoint_works_at_the_size_it_was_trained_at_unless_told_otherwise(weights):
    assert NetworkMap("saliency", Brightness(), str(weights), [40, 64]).image_size == (40, 64)
    assert NetworkMap("saliency", Brightness(), str(weights), [40, 64], [32, 32]).image_size == (32, 32)


def test_a_map_that_is_not_finite_is_refused_and_not_kept(weights):
    torch.save({"gain": torch.tensor(torch.nan)}, weights)
    guide = NetworkMap("saliency", Brightness(), str(weights), [32, 32])
    with pytest.raises(DataError, match="Brightness finds no finite saliency for `a`; train it longer"):
        guide(Pairs().load(0))
    assert not list(guide.cache.folder.glob("*.npy"))


def test_missing_weights_are_one_clear_sentence(tmp_path):
    with pytest.raises(
        WeightsMissingError, match=r"come from Brightness, whose weights are not set: give `saliency\.weights`"
    ):
        NetworkMap("saliency", Brightness(), None, [32, 32])
    with pytest.raises(WeightsMissingError, match=r"`saliency.weights` = .*nothing.pth does not exist"):
        NetworkMap("saliency", Brightness(), str(tmp_path / "nothing.pth"), [32, 32])


def test_a_network_that_estimates_something_else_is_refused(weights):
    with pytest.raises(RequestError, match="holds Brightness, which does not estimate disparity"):
        NetworkMap("disparity", Brightness(), str(weights), [32, 32])


def test_preparing_computes_the_pairs_that_are_used_and_passes_over_them_the_next_time(weights):
    guide = NetworkMap("saliency", Brightness(), str(weights), [32, 48])
    source = GuidedSource(Source(), {"saliency": guide})
    shown = []

    def track(indices, title):
        shown.append(title)
        return indices

    source.prepare("k" * 64, {"train": 2}, torch.device("cpu"), track)
    assert Brightness.asked == 2
    for _ in range(2):
        source.prepare("k" * 64, {"train": 2, "val": None}, torch.device("cpu"), track)
    assert shown == ["Saliency of the train split", "Saliency of the val split"]
    assert Brightness.asked == 3
    assert source.split("val").load(2).maps["saliency"].shape == (40, 60)
    assert Brightness.asked == 3


def test_processes_that_start_at_once_prepare_a_share_each(weights, monkeypatch):
    asked = []
    for rank in (0, 1, 1):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        guide = NetworkMap("saliency", Brightness(), str(weights), [32, 48])
        source = GuidedSource(Source(), {"saliency": guide})
        source.prepare("k" * 64, {"train": None}, torch.device("cpu"), lambda indices, title: indices)
        asked.append(Brightness.asked)
    assert asked == [2, 3, 3]
    marks = sorted(path.name for path in guide.cache.folder.glob("*.done"))
    assert marks == [f"train-3-{'k' * 16}-{rank}-of-2.done" for rank in range(2)]
    # Whoever starts alone later goes through all, and what is there is not computed again.
    monkeypatch.delenv("RANK")
    source.prepare("k" * 64, {"train": None}, torch.device("cpu"), lambda indices, title: indices)
    assert Brightness.asked == 3
    assert (guide.cache.folder / f"train-3-{'k' * 16}.done").is_file()


def test_guided_pairs_carry_the_maps_beside_all_else():
    pair = Guided(Pairs(), {"saliency": Truth("saliency")}).load(1)
    assert pair.id == "b"
    np.testing.assert_array_equal(pair.maps["saliency"], pair.maps["mask"])
    np.testing.assert_array_equal(pair.photo, Pairs().load(1).photo)


def test_what_metrics_alone_take_is_left_out_of_training_pairs_and_nothing_is_kept_of_what_is_scored_once():
    guides = {"saliency": Truth("saliency"), "focus": Truth("focus")}
    source = GuidedSource(Source(), guides, ["mask", "disparity"], scoring=["focus"])
    assert set(source.split("train").load(1).maps) == {"saliency"}
    assert set(source.split("val").load(1).maps) == {"saliency", "focus"}
    once = Guided(Pairs(), {"focus": Afresh(FromPair("focus"))}).load(0)
    assert (once.maps["focus"] == 1).all()
    assert not list(FromPair("focus").cache.folder.glob("*.npy"))


def test_a_source_that_is_not_set_is_asked_for():
    with pytest.raises(RequestError, match="`saliency` is needed, but no source is set: use saliency=truth"):
        build_guides(["saliency"], {"saliency": None})


def test_inverse_depth_is_divided_by_its_maximum():
    log_depth = torch.log(torch.tensor([1.0, 2.0, 4.0])).view(1, 1, 1, 3)
    np.testing.assert_allclose(estimates({"log_depth": log_depth})["disparity"], [[[[1, 0.5, 0.25]]]], atol=1e-6)


def test_an_estimate_is_at_the_networks_size():
    assert estimate(Brightness(), Pairs().load(0).photo, (32, 48))["saliency"].shape == (32, 48)


def test_the_maps_that_a_network_asks_for_include_those_of_networks_within_it():
    blend = {"_target_": "lensblend.networks.saliency_blend.SaliencyBlend", "bank": {"sizes": [9]}}
    assert guidance_of(blend, "model") == ("saliency",)
    container = {"_target_": "lensblend.networks.depth_blend.DepthBlend", "backbone": [{"member": blend}, blend]}
    assert guidance_of(container, "model") == ("saliency",)
    assert guidance_of({"_target_": "lensblend.networks.depth_blend.DepthBlend"}, "model") == ()


def test_focus_comes_from_the_pair_or_its_mask_or_a_saliency_network(weights):
    pair = Pairs().load(1)
    target = pair.photo.copy()
    target[:, :30] = 255 - target[:, :30]
    changed = Pair(pair.id, pair.photo, target, {"mask": pair.maps["mask"]})
    focus = FromPair("focus")(changed)
    assert focus.shape == (40, 60)
    assert focus.dtype == np.float32
    assert focus[:, 40:].min() > 0.9
    assert focus[:, :20].mean() < 0.5
    assert np.array_equal(Truth("focus")(changed), pair.maps["mask"].astype(np.float32))
    saliency, stand_in = (NetworkMap(n, Brightness(), str(weights), [20, 30])(pair) for n in ("saliency", "focus"))
    assert np.array_equal(saliency, stand_in)


def test_a_map_for_rendering_cannot_come_from_the_target():
    with pytest.raises(RequestError, match="`saliency` cannot come from photo and target"):
        FromPair("saliency")


@pytest.fixture
def in_files(tmp_path):
    """Two pairs in files, the second photo standing."""
    files = []
    for index, name in enumerate(["a", "b"]):
        pair = Pairs().load(index)
        for part, image in (("photo", pair.photo), ("target", np.roll(pair.photo, 9, axis=1))):
            write_image(tmp_path / part / f"{name}.png", image.transpose(1, 0, 2) if index else image)
        files.append(PairFiles(name, tmp_path / "photo" / f"{name}.png", tmp_path / "target" / f"{name}.png", {}))
    return FilePairs(files)


def loaded(guide, kind="focus", rendered=None, size=(20, 30)):
    return [Guided(rendered, {kind: guide}).sized(size).load(index).maps[kind] for index in range(2)]


def test_what_is_in_focus_is_computed_once_per_pair_and_size(in_files, monkeypatch):
    asked = []
    compute = FromPair.compute
    monkeypatch.setattr(FromPair, "compute", lambda self, pair: (asked.append(pair.id), compute(self, pair))[1])
    first = loaded(FromPair("focus"), rendered=in_files)
    assert asked == ["a", "b"]
    assert [plane.shape for plane in first] == [(20, 30)] * 2
    for again in (loaded(FromPair("focus"), rendered=in_files) for _ in range(2)):  # another epoch, another process
        assert [plane.tobytes() for plane in again] == [plane.tobytes() for plane in first]
    assert asked == ["a", "b"]
    for index, plane in enumerate(first):
        whole = compute(FromPair("focus"), in_files.load(index))
        np.testing.assert_allclose(plane, resize_map(whole, (20, 30)), atol=2**-11)
    loaded(FromPair("focus"), rendered=in_files, size=(10, 15))
    assert asked == ["a", "b"] * 2
    write_image(in_files.files[0].target, in_files.load(0).photo)
    guide = FromPair("focus")
    assert loaded(guide, rendered=in_files)[0].min() == 1  # target and photo are equal now
    assert asked == [*["a", "b"] * 2, "a"]


def test_what_is_in_focus_of_rendered_pairs_is_not_kept(tmp_path):
    guide = FromPair("focus")
    loaded(guide, rendered=Pairs())
    assert list(tmp_path.glob("cache/**/*.npy")) == []


def test_a_pairs_pixels_are_hashed_once_until_its_files_change(in_files, weights, monkeypatch):
    hashed = []
    monkeypatch.setattr(NetworkMap, "content", lambda self, pair: (hashed.append(pair.id), (pair.photo,))[1])
    guide = NetworkMap("saliency", Brightness(), str(weights), [32, 48])
    for _ in range(2):
        planes = loaded(guide, "saliency", in_files)
        assert hashed == ["a", "b"]
    write_image(in_files.files[0].photo, np.full((40, 60, 3), 255, dtype=np.uint8))
    assert loaded(guide, "saliency", in_files)[0].min() > planes[0].max()
    assert hashed == ["a", "b", "a"]
    in_files.files[0].target.unlink()
    assert in_files.stamp(0) is None


def test_a_kept_map_is_not_enlarged_to_the_photo_for_smaller_samples(in_files, weights, monkeypatch):
    guide = NetworkMap("saliency", Brightness(), str(weights), [32, 48])
    sizes = []
    monkeypatch.setattr(
        "lensblend.inference.prior_maps.resize_map",
        lambda plane, size: (sizes.append(size), resize_map(plane, size))[1],
    )
    small = loaded(guide, "saliency", in_files)
    assert sizes == [(20, 30)] * 2
    two_steps = [resize_map(guide(in_files.load(index)), (20, 30)) for index in range(2)]
    np.testing.assert_allclose(small, two_steps, atol=0.02)
