import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lensblend.comparison.cost import Cost, count_macs, hardware, metered
from lensblend.errors import RequestError
from lensblend.networks.depth_blend import DepthBlend
from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import Backbone


class Slow(nn.Module):
    """Lets as many seconds pass on a clock of its own as it is told."""

    now = 0.0

    def forward(self, seconds, factor=1.0):
        self.now += seconds * factor
        return seconds


class Features(Backbone):
    """A backbone of one convolution."""

    def __init__(self):
        super().__init__(out_channels=4)
        self.convolution = nn.Conv2d(3, 4, 1)

    def forward(self, photo):
        return self.convolution(photo)


def test_convolutions_and_products_are_counted_as_computed_by_hand():
    photo = torch.rand(1, 3, 32, 40)
    strided = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    assert count_macs(strided, photo) == 16 * 20 * 8 * 3 * 9
    assert count_macs(nn.ConvTranspose2d(3, 8, 2, stride=2), photo) == 32 * 40 * 3 * 8 * 4
    assert count_macs(nn.Linear(40, 5), photo) == 3 * 32 * 40 * 5
    assert count_macs(nn.BatchNorm2d(3).eval(), photo) == 0


@pytest.mark.parametrize("inference", [True, False])
def test_parametrised_weights_are_counted_where_photos_are_rendered(inference):
    network = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 8, 1)).eval()
    photo = torch.rand(1, 3, 4, 5)
    with torch.inference_mode(inference), metered(network) as cost:
        network(photo)
    # Besides, the weights' product with their singular vectors.
    assert 0 <= cost.macs - 4 * 5 * 3 * 8 <= 2 * 3 * 8


def test_blurs_by_banded_matrices_are_counted_and_those_by_fourier_transform_are_not():
    photo = torch.rand(1, 3, 32, 64)
    head = 32 * 64 * (4 * 3 + 2 * 4 * 9)
    disk = DepthBlend(Features(), KernelBank(family="disk", sizes=[5])).eval()
    assert count_macs(disk, photo) == head
    # Blocks of 32 pixels read 32 + 5 - 1: once for each pixel of three channels along rows, once along columns.
    gaussian = DepthBlend(Features(), KernelBank(sizes=[5])).eval()
    assert count_macs(gaussian, photo) == head + 2 * 3 * 32 * 64 * 36


def test_the_clock_covers_the_networks_pass_only(monkeypatch):
    network = Slow()
    clock = SimpleNamespace(perf_counter=lambda: network.now)
    monkeypatch.setattr("lensblend.comparison.cost.time", clock)
    with metered(network) as cost:
        for factor in (1.0, 0.5):
            network.now += 100.0
            network(4.0, factor=factor)
    assert cost.passes == [4.0, 2.0]
    network(4.0)
    assert cost.passes == [4.0, 2.0]


def test_counting_is_done_once_and_outside_the_clock():
    calls = []

    class Counted(nn.Module):
        def forward(self, photo):
            calls.append(torch.is_inference_mode_enabled())
            return photo @ photo

    with metered(Counted()) as cost:
        assert cost.macs is None
        network = Counted()
    with metered(network) as cost:
        for _ in range(3):
            network(torch.rand(4, 4))
    assert (len(calls), len(cost.passes), cost.macs) == (4, 3, 64)


@pytest.mark.parametrize(("passes", "expected"), [([9.0], 9.0), ([9.0, 1.0], 1.0), ([9.0, 1.0, 5.0, 2.0], 2.0)])
def test_the_first_pass_counts_only_where_it_is_alone(passes, expected):
    assert Cost(passes).seconds == expected


def test_a_network_that_rendered_nothing_has_no_seconds():
    with pytest.raises(RequestError, match="Nothing was rendered"):
        _ = Cost().seconds


def test_the_cpu_is_named_with_its_threads(one_thread):
    assert hardware(torch.device("cpu")) == "CPU, 1 thread"


@pytest.mark.gpu
def test_a_gpu_is_waited_for():
    device = torch.device("cuda")
    network = nn.Conv2d(64, 64, 31, padding=15).to(device).eval()
    photo = torch.rand(4, 64, 256, 256, device=device)
    with torch.inference_mode(), metered(network) as cost:
        for _ in range(3):
            network(photo)
            begin = time.perf_counter()
            torch.cuda.synchronize()
            assert time.perf_counter() - begin < cost.passes[-1] / 10
    assert hardware(device) == torch.cuda.get_device_name()
