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
        return torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision

    assert switches() == ("tf32", "bf16")
    with contextlib.suppress(KeyError), full_precision(torch.device("cpu")):
        assert switches() == ("ieee", "ieee")
        raise KeyError
    assert switches() == ("tf32", "bf16")
    assert torch.get_float32_matmul_precision() == "medium"


def test_autocast_is_off_inside_only():
    square = torch.rand(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(square.device):
            assert (square @ square).dtype == torch.float32
        assert (square @ square).dtype == torch.bfloat16


def test_devices_without_autocast_pass():
    with full_precision(torch.device("meta")):
        pass
