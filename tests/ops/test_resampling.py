"""Resizing by matrices against Pillow and PyTorch."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from lensblend.data.transforms import resize_lanczos, resize_map
from lensblend.ops.resampling import doubled, resample_lanczos, resample_linear

SIZES = [((40, 60), (17, 23)), ((33, 47), (64, 80)), ((50, 31), (50, 64)), ((61, 90), (32, 90)), ((48, 48), (48, 48))]


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_lanczos_is_pillows_but_for_ties(given, wanted):
    photo = np.random.default_rng(0).integers(0, 256, (*given, 3)).astype(np.uint8)
    levels = resample_lanczos(torch.from_numpy(photo).permute(2, 0, 1)[None].float(), wanted)
    difference = np.abs(levels[0].permute(1, 2, 0).numpy() - resize_lanczos(photo, wanted))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_maps_shrink_as_pillow_shrinks_them(given, wanted):
    plane = np.random.default_rng(0).random(given, np.float32)
    resized = resample_linear(torch.from_numpy(plane)[None, None], wanted, antialias=True)[0, 0].numpy()
    np.testing.assert_allclose(resized, resize_map(plane, wanted), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_linear_is_pytorchs(given, wanted):
    image = torch.rand(2, 3, *given)
    expected = interpolate(image, wanted, mode="bilinear", align_corners=False)
    torch.testing.assert_close(resample_linear(image, wanted), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(5, 7), (1, 3), (1, 1)])
def test_doubling_is_pytorchs_bilinear_enlarging(size):
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(doubled(image), expected, rtol=0, atol=1e-6)
