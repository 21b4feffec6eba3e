"""Shapes of discs against polygons that Pillow draws and circles that are counted."""

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lensblend.errors import RequestError
from lensblend.ops.apertures import Aperture
from lensblend.ops.optics import defocus_disc

FINE = 32


def drawn(radius, blades, rotation, side):
    """A regular polygon of a disc's area, drawn 32 times as large."""
    corner = radius * math.sqrt(2 * math.pi / (blades * math.sin(2 * math.pi / blades)))
    angles = [math.radians(rotation) + 2 * math.pi * i / blades for i in range(blades)]
    middle = side * FINE / 2
    points = [(middle + FINE * corner * math.sin(a) - 0.5, middle - FINE * corner * math.cos(a) - 0.5) for a in angles]
    image = Image.new("L", (side * FINE, side * FINE))
    ImageDraw.Draw(image).polygon(points, fill=1)
    kernel = np.asarray(image, float).reshape(side, FINE, side, FINE).mean(axis=(1, 3))
    return kernel / kernel.sum()


@pytest.mark.parametrize("radius", [1.2, 4.0, 11.3])
@pytest.mark.parametrize(("blades", "rotation"), [(3, 0.0), (5, 0.0), (5, 20.0), (6, 30.0), (9, -7.0)])
def test_blades_make_a_polygon_of_the_discs_area(radius, blades, rotation):
    kernel = Aperture(blades, rotation).disc(radius)
    np.testing.assert_allclose(kernel, drawn(radius, blades, rotation, len(kernel)), atol=0.03 / radius)
    assert kernel.sum() == pytest.approx(1)


@pytest.mark.parametrize("radius", [0.3, 0.5, 1.5, 7.25])
def test_a_round_aperture_is_the_disc_of_the_optics(radius):
    np.testing.assert_array_equal(Aperture().disc(radius), defocus_disc(radius))
    np.testing.assert_array_equal(Aperture(cats_eye=0.8).disc(radius, (0.0, 0.0)), defocus_disc(radius))


def test_a_point_before_the_focus_spreads_upside_down():
    kernel = Aperture(5).disc(6.0)
    np.testing.assert_allclose(Aperture(5).disc(6.0, before=True), kernel[::-1, ::-1])
    assert abs(kernel - kernel[::-1, ::-1]).max() > 0.001


def test_towards_a_corner_a_disc_is_what_two_circles_share():
    radius, shift = 10.0, 0.6
    kernel = Aperture(cats_eye=1.0).disc(radius, (0.0, shift))
    reach = len(kernel) // 2
    fine = (np.arange((2 * reach + 1) * 40) + 0.5) / 40 - reach - 0.5
    circles = [fine[:, None] ** 2 + (fine + side * shift * radius / 2) ** 2 <= radius**2 for side in (-1, 1)]
    counted = np.logical_and(*circles).reshape(2 * reach + 1, 40, 2 * reach + 1, 40).mean(axis=(1, 3))
    np.testing.assert_allclose(kernel, counted / counted.sum(), atol=4e-4)
    assert kernel[:, reach + 8 :].sum() == 0  # narrow along the way to the corner
    assert kernel[reach + 8].sum() > 0
    turned = Aperture(cats_eye=1.0).disc(radius, (shift, 0.0))
    np.testing.assert_allclose(turned, kernel.T, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blades": 2}, "`blades` is 3 to 32, or 0 for a round aperture, but got 2"),
        ({"blades": -1}, "but got -1"),
        ({"blades": 33}, "but got 33"),
        ({"rotation": math.inf}, "`rotation` is in degrees"),
        ({"cats_eye": math.nan}, r"`cats_eye` is in \[0, 1\], but got nan"),
        ({"cats_eye": 1.1}, "use 0 for none"),
    ],
)
def test_what_is_no_aperture_is_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        Aperture(**arguments)
