import cv2
import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.ops.resize import resize_bilinear


@pytest.mark.parametrize("image_size", [(64, 96), (33, 47), (40, 30), (20, 15), (1, 1)])
def test_resizing_equals_opencv(image_size):
    image = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    height, width = image_size
    expected = cv2.resize(image[0].permute(1, 2, 0).numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
    resized = resize_bilinear(image, image_size)
    np.testing.assert_allclose(resized[0].permute(1, 2, 0).numpy(), expected, atol=2e-5)


def test_the_same_size_is_the_same_image():
    image = torch.rand(2, 4, 12, 17)
    assert torch.equal(resize_bilinear(image, [12, 17]), image)


def test_half_precision_is_raised():
    image = torch.rand(1, 1, 6, 7).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        resized = resize_bilinear(image, (12, 14))
    assert torch.equal(resized, resize_bilinear(image.float(), (12, 14)))


@pytest.mark.parametrize("image_size", [(384, 512, 3), (384,), (0, 512), (384, -1)])
def test_wrong_sizes_are_named(image_size):
    with pytest.raises(RequestError, match=r"\(height, width\), both positive, but got \["):
        resize_bilinear(torch.rand(1, 3, 8, 8), image_size)
