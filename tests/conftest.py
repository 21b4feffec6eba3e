"""What several test folders share: a cache of their own, a command runner, one finished training."""

import functools
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[1]
# A program of its own, which starts a cluster: `make slurm-test`.
collect_ignore = ["slurm"]


class Finished(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keep what the tests render and download apart from the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["LENSBLEND_CACHE"] = str(folder)
    os.environ["WANDB_MODE"] = "offline"
    os.environ["WANDB_SILENT"] = "true"
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_empty_comparisons():
    """Refuse assertions over empty tensors and arrays, which cannot fail."""
    with pytest.MonkeyPatch.context() as patch:
        for module, names in (
            (torch.testing, ["assert_close"]),
            (np.testing, ["assert_allclose", "assert_array_equal", "assert_array_less", "assert_equal"]),
        ):
            for name in names:
                patch.setattr(module, name, refusing_empty(vars(module)[name]))
        yield


def refusing_empty(compare):
    """The same comparison, which fails where there is nothing to compare."""

    @functools.wraps(compare)
    def compared(actual, expected, *arguments, **options):
        for side in (actual, expected):
            if isinstance(side, torch.Tensor | np.ndarray) and 0 in side.shape:
                pytest.fail(f"an empty comparison, of shape {tuple(side.shape)}, cannot fail")
        return compare(actual, expected, *arguments, **options)

    return compared


@pytest.fixture
def one_thread():
    """Compute on one thread: small networks gain nothing from a second, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def picture():
    """Read a picture's pixels, and leave no file open."""

    def read(path):
        with Image.open(path) as image:
            return np.array(image)

    return read


@pytest.fixture(scope="module")
def browser():
    """An installed Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium or Chrome is installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="session")
def vgg19_file(tmp_path_factory):
    """A file like torchvision's of VGG-19, up to its 13th convolution, with random values that let signals through."""
    generator = torch.Generator().manual_seed(0)
    widths = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 16: 256, 19: 512, 21: 512, 23: 512, 25: 512}
    widths |= {28: 512}
    state, channels = {"classifier.6.bias": torch.zeros(1000)}, 3
    for layer, width in widths.items():
        scale = (2 / (9 * channels)) ** 0.5
        state[f"features.{layer}.weight"] = scale * torch.randn(width, channels, 3, 3, generator=generator)
        state[f"features.{layer}.bias"] = 0.1 * torch.randn(width, generator=generator)
        channels = width
    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save(state, path)
    return str(path)


@pytest.fixture(scope="session")
def lensblend():
    """Run a verb in a process of its own, as a user does, and return how it ended."""

    def run(*arguments, cwd=None, env=None):
        command = [sys.executable, "-m", "lensblend.cli.main", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        done = subprocess.run(
            command, cwd=cwd or CHECKOUT, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def in_process(capsys, monkeypatch):
    """Run a verb's own main in this process: the same code without starting Python anew for each request."""

    def run(verb, *arguments, cwd=None):
        monkeypatch.chdir(cwd or CHECKOUT)
        monkeypatch.setattr(sys, "argv", [f"lensblend {verb}", *map(str, arguments)])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        capsys.readouterr()
        code = 0
        try:
            importlib.import_module(f"lensblend.cli.{verb}").main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return Finished(code, out, err)

    return run


@pytest.fixture(scope="session")
def trained(lensblend, tmp_path_factory):
    """The folder of a whole three-phase training in its smoke form, with W&B offline, started as a user would."""
    run_dir = tmp_path_factory.mktemp("runs") / "smoke"
    small = ["experiment=demo", "debug=smoke", "+backbone.width_divisor=8"]
    done = lensblend("train", *small, "logger=wandb", f"run_dir={run_dir}")
    assert done.code == 0, done.err
    return run_dir


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A file as `lensblend export` writes it, of a small network with random weights that works at 32×48."""
    from lensblend.runs.checkpoints import describe
    from lensblend.runs.instantiate import build
    from lensblend.runs.roles import MODELS
    from lensblend.runs.safetensors_files import write_network

    trunk = {"_target_": "lensblend.backbones.hourglass.Hourglass", "width_divisor": 16}
    bank = {"_target_": "lensblend.nn.kernel_bank.KernelBank", "sizes": [3, 5]}
    node = {"_target_": "lensblend.networks.depth_blend.DepthBlend", "backbone": trunk, "bank": bank}
    config = {"seed": 0, "schedule": {"run": ["phase1"]}, "data": {"_target_": "lensblend.data.embedded.Embedded"}}
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    write_network(build(node, "model", *MODELS).state_dict(), describe(node, "phase1", [32, 48], config, {}), path)
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, an empty cache of its client, and no token."""
    from huggingface_hub import close_session, constants

    from hub_stand_in import serving

    with serving() as hub:
        place = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # files go by plain HTTP
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub
        close_session()
