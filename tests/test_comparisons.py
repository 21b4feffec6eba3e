"""Comparisons that could not fail do."""

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("shape", [(0,), (2, 3, 0, 32)])
def test_comparing_nothing_fails(shape):
    for compare, empty in (
        (torch.testing.assert_close, torch.ones(shape)),
        (np.testing.assert_allclose, np.ones(shape)),
        (np.testing.assert_array_equal, np.ones(shape)),
    ):
        with pytest.raises(pytest.fail.Exception, match="an empty comparison"):
            compare(empty, empty)


def test_comparing_something_does_not():
    torch.testing.assert_close(torch.ones(2), torch.ones(2))
    np.testing.assert_allclose(np.ones(2), 1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(torch.ones(2), torch.zeros(2))
