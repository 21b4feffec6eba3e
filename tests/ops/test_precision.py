import contextlib

import pytest
import torch

from lensblend.ops.precision import full_precision


@pytest.fixture
def user_allows_tf32():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("user_allows_tf32")
def test_the_users_switches_are_put_back():
    def switches():
        backends = torch.backends
        chosen = backends.cuda.matmul, backends.mkldnn.matmul, backends.cudnn.conv, backends.mkldnn.conv
        return [switch.fp32_precision for switch in chosen]

    before = switches()
    assert before[:3] == ["tf32", "bf16", "tf32"]
    with contextlib.suppress(KeyError), full_precision(torch.device("cpu")):
        assert switches() == ["ieee"] * 4
        raise KeyError
    assert switches() == before
    assert torch.get_float32_matmul_precision() == "medium"
    assert torch.backends.cudnn.allow_tf32


def test_autocast_is_off_inside_only():
    square = torch.rand(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(square.device):
            assert (square @ square).dtype == torch.float32
        assert (square @ square).dtype == torch.bfloat16


def test_devices_without_autocast_pass():
    with full_precision(torch.device("meta")):
        pass
