"""Figures of the site, drawn by the code that they explain."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("agg")

from matplotlib import pyplot as plt
from skimage import data

from lensblend.data.motorcycle import load_motorcycle
from lensblend.inference.refocusing import ThinLens, refocus
from lensblend.inference.rendering import render_photo
from lensblend.nn.kernel_bank import KernelBank
from lensblend.runs.checkpoints import load_network
from lensblend.runs.models import model_file

BANKS = {
    "gaussian_25_45_75": {"family": "gaussian"},
    "disk_variance": {"family": "disk", "match": "variance"},
    "disk_25_45_75": {"family": "disk"},
}


def draw_all(folder: Path) -> None:
    """Draw the figures that are not there yet."""
    for name, draw in {"kernels": kernels, "weights": weights, "focus": focus}.items():
        file = folder / f"{name}.png"
        if not file.exists():
            figure = draw()
            figure.savefig(file, dpi=110)
            plt.close(figure)


def kernels() -> plt.Figure:
    """What becomes of one bright point under each kernel of three banks, and a cut through its middle."""
    import torch

    point = torch.zeros(1, 3, 121, 121)
    point[..., 60, 60] = 1.0
    figure, axes = plt.subplots(3, 4, figsize=(10, 7.4), layout="constrained", width_ratios=(1, 1, 1, 1.5))
    for number, (name, options) in enumerate(BANKS.items()):
        row = axes[number]
        layers = KernelBank(sizes=[25, 45, 75], **options)(point)[0, 1:, 0].numpy()
        for axis, layer, size in zip(row, layers, (25, 45, 75), strict=False):
            axis.imshow(layer / layer.max(), cmap="gray")
            axis.set(xticks=[], yticks=[], title=f"{size} px" if number == 0 else "")
            row[3].plot(np.arange(-60, 61), layer[60], label=f"{size} px")
        row[0].set_ylabel(name)
        row[3].set(xlabel="pixels from the point" if number == 2 else "", yticks=[])
        row[3].legend(frameon=False)
    return figure


def weights() -> plt.Figure:
    """A photo, the weight of each layer as the model in the box sees it, and the sum."""
    trained = load_network(model_file("default"))
    photo = data.astronaut()[:, 20:]
    rendering = render_photo(trained.network, photo, trained.image_size, blend_at="photo")
    maps = rendering.aux["weights"][0].numpy()
    shown = [photo, *maps, rendering.bokeh[0].permute(1, 2, 0).clamp(0, 1).numpy()]
    titles = ["photo", "W0: the photo", *(f"W{i}: blur {i}" for i in range(1, len(maps))), "bokeh"]
    columns = (len(shown) + 1) // 2
    figure, axes = plt.subplots(2, columns, figsize=(2.6 * columns, 5.6), layout="constrained")
    for axis in axes.ravel():
        axis.set_axis_off()
    for axis, picture, title in zip(axes.ravel(), shown, titles, strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title)
    return figure


def focus() -> plt.Figure:
    """One photo with measured disparity, focused far, in the middle and near."""
    photo, disparity = load_motorcycle()
    light = (photo / 255).astype(np.float32)
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    axes[0, 0].imshow(disparity, cmap="magma")
    axes[0, 0].set_title("disparity, near is bright")
    for axis, at in zip(axes.ravel()[1:], (0.15, 0.6, 0.95), strict=True):
        axis.imshow(refocus(light, disparity.astype(np.float32), ThinLens(focus=at, aperture=0.03)))
        axis.set_title(f"--focus-at {at}")
    for axis in axes.ravel():
        axis.set_axis_off()
    return figure
