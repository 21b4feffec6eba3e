"""The colour loss against OpenCV's Gaussian blur."""

import cv2
import numpy as np
import pytest
import torch

from lensblend.errors import RequestError
from lensblend.losses.colour import BlurredMse


def test_value_is_that_of_opencv():
    predicted, truth = np.random.default_rng(0).random((2, 2, 3, 40, 50), dtype=np.float32)

    def blurred(photos):
        return np.stack(
            [cv2.GaussianBlur(p.transpose(1, 2, 0), (21, 21), 3.0, borderType=cv2.BORDER_REFLECT_101) for p in photos]
        )

    value = BlurredMse()(torch.from_numpy(predicted), torch.from_numpy(truth))
    assert value.item() == pytest.approx(float(np.square(blurred(predicted) - blurred(truth)).mean()), rel=1e-4)


def test_detail_costs_less_than_light():
    photo = torch.rand(1, 3, 48, 48)
    noise = torch.randn(1, 3, 48, 48) * 0.1
    assert BlurredMse()(photo + noise, photo) < 0.1 * BlurredMse()(photo + 0.1, photo)


def test_gradient_reaches_the_prediction():
    photo = torch.rand(1, 3, 32, 32, requires_grad=True)
    BlurredMse()(photo, torch.rand(1, 3, 32, 32)).backward()
    assert photo.grad.isfinite().all()
    assert photo.grad.any()


@pytest.mark.parametrize(("arguments", "message"), [({"kernel_size": 20}, "odd"), ({"sigma": 0.0}, "positive")])
def test_impossible_windows_are_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        BlurredMse(**arguments)
