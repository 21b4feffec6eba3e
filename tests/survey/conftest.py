"""Folders of renderings, and studies made of them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from lensblend.survey.making import Request, make
from survey_process import Process

METHODS = {"alpha-net": 2, "beta-net": 3, "gamma-net": 4}


def scene(seed, height=40, width=60):
    """A photo with detail everywhere, as OpenCV resizes noise."""
    rough = np.random.default_rng(seed).uniform(0, 255, (7, 9, 3)).astype(np.float32)
    return np.clip(cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def write_folders(root, count=4, size=(40, 60)):
    """Write targets and each method's renderings, called alike; return the methods' folders."""
    for index in range(count):
        photo = scene(index, *size)
        for folder, sigma in {"targets": 1, **METHODS}.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(cv2.GaussianBlur(photo, (0, 0), sigma)).save(root / folder / f"photo-{index}.png")
    return {name: root / name for name in METHODS}


@pytest.fixture
def folders(tmp_path):
    """The methods' folders, beside `targets`."""
    return write_folders(tmp_path)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Make a study of some mode in a folder of its own."""
    roots = {}

    def make_one(folder, mode="levels", size=(40, 60), **options):
        if size not in roots:
            roots[size] = tmp_path_factory.mktemp("renderings")
            write_folders(roots[size], size=size)
        methods = {name: roots[size] / name for name in METHODS}
        request = {"images": 3, "catch": 1, "mode": mode, **options}
        return make(Request(roots[size] / "targets", methods, **request), folder)

    return make_one


@pytest.fixture
def start():
    """Serve studies in processes of their own, which end with the test."""
    started = []

    def start_one(*arguments):
        started.append(Process(*arguments))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
