"""A case is measured as the network renders: sizes, batches, maps, operations, bytes, and what cannot be is said."""

from types import SimpleNamespace

import pytest
import torch

from lensblend.benching import measuring
from lensblend.benching.cases import Case, System
from lensblend.benching.measuring import measure
from lensblend.errors import DataError, RequestError
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.rendering import BokehNetwork, Rendering

BLEND = {
    "_target_": "lensblend.networks.saliency_blend.SaliencyBlend",
    "bank": {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3]},
}
TRUNK = {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16}
NODE = {**BLEND, "_target_": "lensblend.networks.depth_blend.DepthBlend", "backbone": TRUNK}
SMALL = (32, 48)


@pytest.fixture
def seen(monkeypatch):
    """The shapes that a network was given, by argument, in each call."""
    calls = []
    forward = DepthBlend.forward

    def spied(self, photo, full_photo=None):
        calls.append((tuple(photo.shape), None if full_photo is None else tuple(full_photo.shape)))
        return forward(self, photo, full_photo)

    monkeypatch.setattr(DepthBlend, "forward", spied)
    return calls


def test_a_model_works_at_its_size_and_blends_at_the_photos(tiny_model, seen, one_thread):
    found = measure(Case(System("tiny", model=str(tiny_model)), (64, 80), "cpu", batch=2, rounds=3))
    # One more to count the operations.
    assert seen == [((2, 3, 32, 48), (2, 3, 64, 80))] * 5
    assert (found.image_size, found.network_size, found.device) == ((64, 80), SMALL, "cpu")
    assert len(found.seconds) == 3
    assert min(found.first_seconds, *found.seconds) > 0
    assert found.bytes == tiny_model.stat().st_size
    assert found.hardware == "CPU, 1 thread"
    assert found.peak_bytes > 2**26


def test_it_stands_where_the_photo_stands_and_by_default_has_its_size(tiny_model, seen, one_thread):
    system = System("tiny", model=str(tiny_model))
    assert measure(Case(system, (80, 64), "cpu", rounds=1)).network_size == (48, 32)
    assert measure(Case(system, None, "cpu", rounds=1)).image_size == SMALL
    assert seen[-1] == ((1, 3, 32, 48), None)


def test_a_network_with_random_weights_works_at_the_photos_size(seen, one_thread):
    found = measure(Case(System("dbsi", node=NODE), (48, 64), "cpu", rounds=1))
    assert set(seen) == {((1, 3, 48, 64), None)}
    assert found.network_size == found.image_size == (48, 64)
    assert found.parameters > 10_000
    assert 4 * found.parameters <= found.bytes < 5 * found.parameters


def test_operations_are_of_the_whole_batch_and_of_the_engine_none(tiny_model, one_thread):
    system = System("tiny", model=str(tiny_model))
    one, four = (measure(Case(system, SMALL, "cpu", batch=batch, rounds=1)) for batch in (1, 4))
    assert four.macs == 4 * one.macs > 0
    half = measure(Case(system, SMALL, "cpu", precision="bf16", rounds=1))
    assert half.macs == one.macs


def test_maps_are_given(one_thread):
    found = measure(Case(System("scrn", node=BLEND), SMALL, "cpu", rounds=1))
    assert (found.parameters, found.bytes) == (0, 0)


def test_the_clock_covers_the_networks_pass_and_nothing_else(tiny_model, one_thread, monkeypatch):
    now = [0.0]

    def pausing(call, seconds):
        def paused(*arguments, **options):
            now[0] += seconds
            return call(*arguments, **options)

        return paused

    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(measuring, "load_network", pausing(measuring.load_network, 100.0))
    monkeypatch.setattr(measuring, "count_macs", pausing(lambda *_, **__: 1, 100.0))
    monkeypatch.setattr(DepthBlend, "forward", pausing(DepthBlend.forward, 2.0))
    found = measure(Case(System("tiny", model=str(tiny_model)), SMALL, "cpu", rounds=3))
    assert (found.first_seconds, found.seconds) == (2.0, (2.0, 2.0, 2.0))


def test_a_rendering_of_the_networks_size_is_enlarged_within_the_clock(tiny_model, one_thread, monkeypatch):
    sizes = []
    monkeypatch.setattr(measuring, "resize_bilinear", lambda bokeh, size: sizes.append((tuple(bokeh.shape), size)))
    monkeypatch.setattr(DepthBlend, "blends_full_size", False)
    measure(Case(System("tiny", model=str(tiny_model)), (64, 80), "cpu", rounds=1))
    assert sizes == [((1, 3, 32, 48), (64, 80))] * 2


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"engine": "onnx", "precision": "bf16"}, "`engine` onnx computes in fp32 or int8, but `precision` is bf16"),
        ({"precision": "fp16"}, "`precision` fp16 is for GPUs"),
        ({"engine": "openvino", "device": "meta"}, "`device` 'meta' cannot be used"),
    ],
)
def test_what_an_engine_cannot_do_is_said(tiny_model, how, says):
    with pytest.raises(RequestError, match=says):
        measure(Case(System("tiny", model=str(tiny_model)), SMALL, **{"device": "cpu", **how}))


def test_a_damaged_model_is_named(tmp_path):
    file = tmp_path / "broken.ckpt"
    file.write_bytes(b"none")
    with pytest.raises(DataError, match=r"broken\.ckpt cannot be read"):
        measure(Case(System("broken", model=str(file)), SMALL, "cpu"))


def test_random_weights_are_the_same_every_time(monkeypatch, one_thread):
    hashes = []
    monkeypatch.setattr(measuring, "served", lambda network, *how: hashes.append(how[2]) or Grey())
    weights = []
    monkeypatch.setattr(measuring, "count_macs", lambda network, *_, **__: weights.append(network.head.weight) or 1)
    for _ in range(2):
        measure(Case(System("dbsi", node=NODE), SMALL, "cpu", rounds=1))
    assert hashes[0] == hashes[1]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


class Grey(BokehNetwork):
    def forward(self, photo):
        return Rendering(photo, {})


@pytest.mark.gpu
def test_a_gpus_memory_is_what_pytorch_allocated_there(tiny_model):
    system = System("tiny", model=str(tiny_model))
    one, many = (measure(Case(system, (256, 256), "cuda", batch=batch, rounds=1)) for batch in (1, 16))
    assert one.device == "cuda"
    assert one.hardware == torch.cuda.get_device_name()
    assert one.peak_bytes < many.peak_bytes < 2**30
