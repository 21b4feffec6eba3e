"""What every network takes and returns, and the kinds of networks there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lensblend.errors import RequestError
from lensblend.nn.full_size import FullSize
from lensblend.nn.kernel_bank import KernelBank

SMALLEST_SIDE = 32
RANGE_TOLERANCE = 1e-3


class Rendering(NamedTuple):
    """A rendered photo and the named intermediates that led to it.

    Attributes:
        bokeh: The rendered photo ``(b, 3, h, w)``, sRGB in [0, 1], of the photo's size.
        aux: Named intermediates: ``weights`` ``(b, n+1, h, w)``, ``stack`` ``(b, n+1, 3, h, w)``, ``depth``,
            ``saliency``, ``mask``, ``kernels``; ``pyramid`` is a list of smaller renderings.
    """

    bokeh: Tensor
    aux: dict[str, Any]


class Network(nn.Module):
    """A network that a checkpoint holds: it renders bokeh, or estimates maps of a photo.

    All that others ask of a network is declared here and in the two kinds of it, with what holds for most.

    Attributes:
        renders: Whether it renders bokeh.
        guidance: Names of the maps that it takes beside the photo: ``saliency``, ``disparity``.
        estimates: Names of the maps that it finds in a photo: ``saliency`` (its answer has ``saliency_logits``),
            ``disparity`` (``log_depth``).
        takes_coordinates: Whether it also takes where in its image each pixel of the photo lies, ``coordinates``.
        renders_channels_last: Whether it renders faster with weights that lie channels last (docs/benchmarks/speed.md).
    """

    renders: bool = False
    guidance: tuple[str, ...] = ()
    estimates: tuple[str, ...] = ()
    takes_coordinates: bool = False
    renders_channels_last: bool = True

    @property
    def depth_trunk(self) -> nn.Module | None:
        """Its part ``backbone``, where a depth network's may take that part's place; else None."""
        return None

    def load_published(self, path: str | Path) -> None:
        """Take over the weights of a file that the network's authors published.

        Raises:
            RequestError: Such files cannot be read, which is so unless a network says how.
        """
        raise RequestError(
            f"{path} is no checkpoint of this project, and files of the authors of {type(self).__name__} cannot be "
            "read; give a .ckpt file or a run's folder, which `lensblend train` writes."
        )


class BokehNetwork(Network):
    """A network that renders bokeh: ``forward(photo, **guidance) -> Rendering``.

    Attributes:
        blends_full_size: Whether it also takes ``full_photo``, the photo at another size, and renders bokeh into that.
        averages: Of how many networks' renderings its own is the mean.
    """

    renders = True
    blends_full_size: bool = False
    averages: int = 1

    @property
    def reference_bank(self) -> KernelBank | None:
        """The bank that blurs what it blends, whose uniform blurs are what it must surpass; None where it has none."""
        return None

    @property
    def f_numbers(self) -> tuple[float, float] | None:
        """The least and the largest full-frame f-number of its training, of a network that renders as it is asked.

        Its `forward` takes ``f_number`` ``(b,)``, one of each photo, and renders at the least without. None of others.
        """
        return None

    def at_f_number(self, f_number: float | int) -> BokehNetwork:
        """Return the network as it renders at an f-number; its parameters are shared, not copied.

        Args:
            f_number: Full-frame; it may lie outside of `f_numbers`.

        Raises:
            RequestError: It is not positive, or the network has no ``f_numbers``.
        """
        raise RequestError(
            f"{type(self).__name__} takes no f-number, or has been given one; aperture_blend takes one. Leave it out."
        )

    @property
    def map_names(self) -> Sequence[str]:
        """What each of its weight maps, ``aux["weights"]``, is the share of: the images of the bank, or none."""
        return self.reference_bank.names if self.reference_bank else ()

    def scaled(self, factor: float | int) -> BokehNetwork:
        """Return the network with blurs ``factor`` times as wide; its parameters are shared, not copied.

        Raises:
            RequestError: It has no bank of blurs.
        """
        return self._reblurred(lambda bank: bank.scaled(factor), "whose kernels could be scaled", "its strength at 1")

    def quick(self) -> BokehNetwork:
        """Return the network with fast blurs, see `KernelBank`; its parameters are shared, not copied.

        Raises:
            RequestError: It has no bank of blurs, or one of others than Gaussians.
        """
        return self._reblurred(KernelBank.quick, "that could be faster", "`fast` out")

    def _reblurred(self, change: Callable[[KernelBank], KernelBank], lacking: str, leave: str) -> BokehNetwork:
        bank = self.reference_bank
        if bank is None:
            raise RequestError(
                f"{type(self).__name__} blends no blurs {lacking}, as depth_blend, joint_blend and saliency_blend do; "
                f"leave {leave}."
            )
        return self._with_bank(change(bank))

    def _with_bank(self, changed: KernelBank) -> BokehNetwork:
        """Return the network with another bank in the place of its own; its parameters are shared, not copied."""
        bank, network = self.reference_bank, copy(self)
        # A module's parts lie in one dict, which a shallow copy would share.
        network._modules = {name: changed if part is bank else part for name, part in self._modules.items()}
        return network

    def full_size(self, photo: Tensor, image_size: Sequence[int], **guidance: Tensor) -> FullSize | None:
        """Return what renders pieces of the photo at another size, alike as `forward` renders it as ``full_photo``.

        Args:
            photo: What the network looks at, in [0, 1].
            image_size: Height and width of the same scene, whose pieces are to be rendered.
            guidance: Maps, as of `forward`.

        Returns:
            None where it renders whole photos only, which is so unless a network says how.
        """
        return None

    def in_range(self, bokeh: Tensor) -> Tensor:
        """Clamp to [0, 1] in evaluation mode; in training the pixels farthest off are to keep their gradient."""
        return bokeh if self.training else bokeh.clamp(0, 1)


class PriorNetwork(Network):
    """A network that estimates maps of a photo, used as guidance: ``forward(photo)`` gives named maps."""


class Backbone(nn.Module):
    """A trunk without a head: ``forward(photo)`` gives features at the photo's size, or at a part of it.

    Args:
        out_channels: How many features each place has.
        stride: Side in pixels of what one place stands for. Above one, the grid of features may reach beyond the photo
            on the right and at the bottom, where the photo was extended by repeating its border.
    """

    def __init__(self, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stride = stride


def check_full_size(backbone: Backbone) -> Backbone:
    """Return a backbone whose features have the photo's size, or raise `RequestError`."""
    if backbone.stride != 1:
        raise RequestError(
            f"`backbone.stride` is 1 in networks that estimate maps at the photo's size, but got {backbone.stride}; "
            "use `backbone.stride=1`, or `model=depth_blend`, which enlarges its weights."
        )
    return backbone


def check_photo(photo: Tensor) -> None:
    """Raise `RequestError` unless a batch of photos is ``(b, 3, h, w)``, in [0, 1], with sides of 32 or more.

    Values are looked at on the CPU only: on a GPU it would wait for all work in flight. NaN passes, because
    what to do about it is the training loop's decision.
    """
    if photo.ndim != 4 or photo.shape[1] != 3 or not photo.is_floating_point():
        raise RequestError(
            f"A photo is a batch of RGB floats, (b, 3, h, w), but got {photo.dtype} of shape {list(photo.shape)}; "
            "use `photo[None]` for a single one, and divide 8-bit values by 255."
        )
    check_sides(photo.shape[-2:])
    if photo.device.type != "cpu" or torch.compiler.is_compiling():
        return
    low, high = (bound.item() for bound in photo.detach().aminmax())
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        raise RequestError(
            f"A photo's values are in [0, 1], but got {low:.4g} to {high:.4g}; divide 8-bit values by 255."
        )


def check_sides(image_size: Sequence[int]) -> None:
    """Raise `RequestError` of a height or width that no network takes."""
    height, width = image_size
    if min(height, width) < SMALLEST_SIDE:
        raise RequestError(
            f"A photo's sides are {SMALLEST_SIDE} pixels or more, but got {height} × {width}; "
            "enlarge it, or extend it by repeating its border."
        )
