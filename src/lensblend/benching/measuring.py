"""Measure one case: time a network's batches, then count its operations."""

from __future__ import annotations

import hashlib
import json
import time
from typing import NamedTuple

import torch

from lensblend.benching.cases import BASELINE_SIZE, Case, Measured
from lensblend.benching.processes import peak_memory
from lensblend.comparison.cost import count_macs, finish, hardware
from lensblend.data.sizes import turned
from lensblend.inference.engines import check_engine, device_for
from lensblend.inference.folding import folded
from lensblend.inference.served import served
from lensblend.nn.rendering import BokehNetwork
from lensblend.ops.resize import resize_bilinear
from lensblend.runs.checkpoints import check_renders, load_network, without_weights
from lensblend.runs.instantiate import build
from lensblend.runs.roles import MODELS


class _Loaded(NamedTuple):
    network: BokehNetwork
    works_at: tuple[int, int] | None
    sha256: str
    bytes: int


def measure(case: Case) -> Measured:
    """Return what a case costs in this process, on photos of random pixels and with random maps.

    A trained network works at its own size and blends at the photo's, as ``lensblend render`` does; where it cannot,
    its rendering is enlarged. A published method works at the photo's size. Reading and writing photos, and what
    would estimate the maps, are not in it.

    Raises:
        LensblendError: The engine does not compute so here, or the network does not take photos of this size.
    """
    device = device_for(case.engine, case.device)
    check_engine(case.engine, case.precision, device)
    torch.manual_seed(0)
    loaded = _loaded(case)
    image_size = case.image_size or loaded.works_at or BASELINE_SIZE
    height, width = turned(loaded.works_at, image_size) if loaded.works_at else image_size
    parameters = sum(parameter.numel() for parameter in loaded.network.parameters())
    network = folded(loaded.network).to(device)
    photo = torch.rand(case.batch, 3, height, width, device=device)
    given = {name: torch.rand(case.batch, 1, height, width, device=device) for name in network.guidance}
    if (height, width) != image_size and network.blends_full_size:
        given["full_photo"] = torch.rand(case.batch, 3, *image_size, device=device)
    quick = served(network, case.engine, case.precision, loaded.sha256)
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + case.rounds):
            finish(device)
            start = time.perf_counter()
            bokeh = quick(photo, **given).bokeh
            if bokeh.shape[-2:] != image_size:
                resize_bilinear(bokeh, image_size)
            finish(device)
            seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return Measured(
        hardware(device),
        device.type,
        image_size,
        (height, width),
        seconds[0],
        tuple(seconds[1:]),
        peak,
        parameters,
        count_macs(network, photo, **given),
        loaded.bytes,
    )


def _loaded(case: Case) -> _Loaded:
    """Return the network, the size at which it works if that is its own, its weights' hash and their bytes on disk."""
    if case.system.model is not None:
        trained = load_network(case.system.model)
        size = trained.path.stat().st_size
        return _Loaded(check_renders(trained), trained.image_size, trained.sha256, size)
    node = without_weights(case.system.node)
    network: BokehNetwork = build(node, "model", *MODELS).eval()
    state = network.state_dict().values()
    # Its weights follow from the seed.
    sha256 = hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()
    return _Loaded(network, None, sha256, sum(tensor.numel() * tensor.element_size() for tensor in state))
