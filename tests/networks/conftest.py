"""Shared by this folder's tests."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Compute on one thread: networks this small gain nothing from a second, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
