import numpy as np
import pytest
import torch

from lensblend.ops.blending import blend


@pytest.fixture
def stack():
    return torch.rand(2, 4, 3, 6, 7, generator=torch.Generator().manual_seed(0))


def test_blend_is_the_weighted_sum(stack):
    weights = torch.rand(2, 4, 6, 7, generator=torch.Generator().manual_seed(1))
    expected = np.zeros((2, 3, 6, 7))
    for b, i, c, y, x in np.ndindex(2, 4, 3, 6, 7):
        expected[b, c, y, x] += weights[b, i, y, x].item() * stack[b, i, c, y, x].item()
    np.testing.assert_allclose(blend(stack, weights).numpy(), expected, atol=1e-6)


def test_one_hot_weights_choose_one_copy_exactly(stack):
    for index in range(4):
        weights = torch.zeros(2, 4, 6, 7)
        weights[:, index] = 1
        assert torch.equal(blend(stack, weights), stack[:, index])


def test_softmax_weights_stay_in_the_range_of_the_copies(stack):
    weights = torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(1)).mul(5).softmax(1)
    bokeh = blend(stack, weights)
    assert (bokeh <= stack.amax(1) + 1e-6).all()
    assert (bokeh >= stack.amin(1) - 1e-6).all()


def test_autocast_gives_float32(stack):
    weights = torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(1)).softmax(1)
    with torch.autocast("cpu", torch.bfloat16):
        bokeh = blend(stack, weights)
    assert torch.equal(bokeh, blend(stack, weights))


def test_half_precision_is_summed_in_float32(stack):
    weights = torch.full((2, 4, 6, 7), 0.25).bfloat16()
    bokeh = blend(stack.bfloat16(), weights)
    assert bokeh.dtype == torch.float32
    assert torch.equal(bokeh, blend(stack.bfloat16().float(), weights.float()))
    assert blend(stack.double(), weights).dtype == torch.float64
    assert blend(stack.bfloat16(), weights.float()).dtype == torch.float32
    assert blend(stack, weights).dtype == torch.float32


def test_gradients_are_right():
    stack = torch.rand(1, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(blend, (stack, weights))
