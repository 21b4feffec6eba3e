"""Padding to a divisor by NumPy, and mirrored borders by PyTorch, whose gradient is their oracle on the CPU."""

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from lensblend.ops.padding import extend, pad_to_multiple


@pytest.mark.parametrize(("size", "padded"), [((33, 48), (48, 48)), ((32, 1), (32, 16)), ((16, 32), (16, 32))])
def test_the_border_is_repeated_to_the_right_and_at_the_bottom(size, padded):
    image = torch.rand(2, 3, *size)
    found = pad_to_multiple(image, 16)
    more = [(0, 0), (0, 0), *((0, after - before) for before, after in zip(size, padded, strict=True))]
    np.testing.assert_array_equal(found, np.pad(image.numpy(), more, mode="edge"))
    assert found is not image


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("border", ["reflect", "replicate"])
@pytest.mark.parametrize("radius", [1, 3, 6])  # at 6, some pixels of 7 have a reflection on either side
def test_a_border_and_its_gradient_are_pytorchs(radius, border, axis):
    image = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    images = image.clone().requires_grad_(), image.clone().requires_grad_()
    margins = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
    for extended in (extend(images[0], radius, axis, border), pad(images[1], margins, mode=border)):
        extended.sin().square().backward(extended.detach() + 1)
    assert torch.equal(extend(image, radius, axis, border), pad(image, margins, mode=border))
    assert torch.equal(images[0].grad, images[1].grad)


def test_a_reflected_border_has_second_derivatives():
    image = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda image: extend(image, 3, -2, "reflect").sin(), (image,), fast_mode=True)
