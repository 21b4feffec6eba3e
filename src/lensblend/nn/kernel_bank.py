"""The ordered set of blurs that blending networks choose from at each pixel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lensblend.errors import RequestError, one_of
from lensblend.ops import kernels
from lensblend.ops.blur import blurs
from lensblend.ops.decimated import decimation, fast_blurs
from lensblend.ops.precision import at_least_float32

LARGEST = 4096  # pixels; a disk of this side takes 128 MiB
MATCHES = ("size", "variance")


@dataclass(frozen=True)
class Width:
    """How wide one kernel of a bank is; see the arguments of `KernelBank`."""

    size: int
    match: str
    scale: float | int
    sigma_rule: str

    @property
    def sigma(self) -> float | int:
        """Standard deviation in pixels of the Gaussian of this size, scaled."""
        return kernels.sigma_for(self.size) * self.scale

    @property
    def reach(self) -> float | int:
        """Pixels from the centre to the rim, scaled."""
        return self.size // 2 * self.scale


def _gaussian(width: Width) -> Tensor:
    if width.scale == 1:
        return kernels.gaussian_kernel(width.size, rule=width.sigma_rule)
    # Rounded up, so that scaling never cuts off more of the tails than the nominal size does.
    return kernels.gaussian_kernel(2 * math.ceil(width.reach - 1e-6) + 1, width.sigma)


def _box(width: Width) -> Tensor:
    by_variance = width.match == "variance"
    return kernels.box_kernel(kernels.box_width_for(width.sigma) if by_variance else max(1.0, width.size * width.scale))


def _disk(width: Width) -> Tensor:
    return kernels.disk_kernel(kernels.disk_radius_for(width.sigma) if width.match == "variance" else width.reach)


FAMILIES: dict[str, Callable[[Width], Tensor]] = {"gaussian": _gaussian, "box": _box, "disk": _disk}


class KernelBank(nn.Module):
    """Stack a photo and its blurred copies, sharpest first.

    The bank has no parameters and adds nothing to a state dict, so a network that holds one keeps its published
    parameter count and checkpoint. See :func:`lensblend.ops.blur.blur` for the border and the precision.

    Args:
        family: ``gaussian`` (the paper's), ``box`` or ``disk`` (its section 6).
        sizes: Kernel sizes in pixels, odd, at least 3, strictly increasing.
        match: ``size``: box and disk are as wide as the kernel size says, and blur far more than a Gaussian of that
            size. ``variance``: they have the standard deviation of the Gaussian of that size instead.
        scale: Factor on every width in pixels: sigma, box width, disk radius. A bank for a photo at its full size,
            whose weights were predicted at a smaller one, is scaled by the ratio of the two sizes.
        sigma_rule: Sigma of unscaled Gaussians, ``opencv_formula`` or ``opencv_exact``;
            see :func:`lensblend.ops.kernels.gaussian_kernel`. Everything else follows the formula.
        photo_size: (height, width) of the photos for which the sizes are meant: on others, kernels are as wide on the
            scene, by `at`. None, as published: kernels are as wide in pixels at every size that a network works at.
        fast: Blur on coarser grids where that is off by less than half a level of 8 bits, see
            :mod:`lensblend.ops.decimated`: Gaussians from about 25 pixels on. Narrower ones, and photos whose shorter
            side a blur nearly spans, are blurred exactly nevertheless; so is everything while a graph is traced.

    Example:
        >>> import torch
        >>> bank = KernelBank(sizes=[25, 45, 75])
        >>> bank(torch.rand(1, 3, 96, 128)).shape
        torch.Size([1, 4, 3, 96, 128])
        >>> bank.names
        ['photo', 'gaussian 25', 'gaussian 45', 'gaussian 75']

    References:
        S. Dutta, "Depth-aware blending of smoothed images for bokeh effect generation",
        J. Vis. Commun. Image Represent. (2021) 103089, section 3 and, for box and disk, section 6.
    """

    def __init__(
        self,
        family: str = "gaussian",
        sizes: Sequence[int] = (25, 45, 75),
        match: str = "size",
        scale: float | int = 1.0,
        sigma_rule: str = "opencv_formula",
        photo_size: Sequence[int] | None = None,
        fast: bool = False,
    ) -> None:
        super().__init__()
        one_of("family", family, FAMILIES)
        one_of("match", match, MATCHES)
        one_of("sigma_rule", sigma_rule, kernels.SIGMA_RULES)
        _check_sizes(sizes)
        if fast and family != "gaussian":
            raise RequestError(f"`fast` blurs are Gaussian, but `family` is {family}, which has a rim; leave it out.")
        if not 0 < scale < math.inf:
            raise RequestError(f"`scale` is positive and finite, but got {scale}; use 1.0 to keep the sizes.")
        if sizes[-1] * scale > LARGEST:
            raise RequestError(
                f"A kernel is at most {LARGEST} pixels wide, but `sizes` {list(sizes)} × `scale` {scale:g} are more; "
                "blur a smaller photo."
            )
        self.family, self.sizes, self.match = family, tuple(sizes), match
        self.scale, self.sigma_rule = scale, sigma_rule
        self.photo_size = None if photo_size is None else _photo_size(photo_size)
        self.fast = fast
        # Plain tensors, not buffers: float64 must survive `.half()`, and DDP must not broadcast them.
        with torch.device("cpu"):
            self.kernels = tuple(FAMILIES[family](Width(size, match, scale, sigma_rule)) for size in self.sizes)

    def forward(self, photo: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n c h w"]:
        """Return ``len(self) + 1`` images per photo: the photo itself, bit for bit, then smallest blur to largest."""
        return torch.stack(list(self.copies(photo)), dim=1)

    def copies(self, photo: Float[Tensor, "b c h w"]) -> Iterator[Float[Tensor, "b c h w"]]:
        """Give the images of the stack one after the other, in memory for one at a time."""
        yield at_least_float32(photo)
        yield from self.at(photo.shape[-2:], photo.shape[-2:]).blurs(photo)

    def blurs(self, image: Float[Tensor, "b c h w"]) -> Iterator[Float[Tensor, "b c h w"]]:
        """Give an image of any channels blurred by each kernel, as wide in pixels whatever the image's size."""
        return fast_blurs(image, self.kernels) if self.fast else blurs(image, self.kernels)

    def blur(self, photo: Float[Tensor, "b 3 h w"], index: int) -> Float[Tensor, "b 3 h w"]:
        """Return one image of the stack without computing the others; index 0 is the photo itself."""
        if not 0 <= index <= len(self):
            raise RequestError(f"`index` is 0 (the photo) to {len(self)} (the largest blur), but got {index}.")
        if not index:
            return photo
        kernel = self.at(photo.shape[-2:], photo.shape[-2:]).kernels[index - 1]
        return next(fast_blurs(photo, [kernel]) if self.fast else blurs(photo, [kernel]))

    def scaled(self, factor: float | int) -> KernelBank:
        """Return a bank whose kernels are ``factor`` times as wide in pixels."""
        return self._rescaled(factor, self.photo_size)

    def quick(self) -> KernelBank:
        """Return the bank with ``fast``."""
        return KernelBank(self.family, self.sizes, self.match, self.scale, self.sigma_rule, self.photo_size, fast=True)

    def at(self, full_size: Sequence[int], size: Sequence[int]) -> KernelBank:
        """Return the bank for a photo of ``full_size``, with kernels as wide on the scene as they are meant.

        Kernels grow by the geometric mean of the two sides' ratios.

        Args:
            full_size: Height and width of the photo that is blurred.
            size: Height and width at which the network works, for which the sizes hold where there is no
                ``photo_size``.
        """
        vertical, horizontal = (full / small for full, small in zip(full_size, self.photo_size or size, strict=True))
        if self.photo_size is None and vertical == horizontal == 1:
            return self
        return self._rescaled(math.sqrt(vertical * horizontal), None)

    def _rescaled(self, factor: float | int, photo_size: Sequence[int] | None) -> KernelBank:
        scale = self.scale * factor
        return KernelBank(self.family, self.sizes, self.match, scale, self.sigma_rule, photo_size, self.fast)

    @property
    def names(self) -> list[str]:
        """What each image of the stack is, by nominal kernel size."""
        return ["photo", *(f"{self.family} {size}" for size in self.sizes)]

    @property
    def radius(self) -> int:
        """How far, in pixels, a blurred pixel looks; tiles must overlap by as much."""
        plans = [decimation(kernel) if self.fast else None for kernel in self.kernels]
        return max(plan.reach if plan else len(kernel) // 2 for kernel, plan in zip(self.kernels, plans, strict=True))

    @property
    def grid(self) -> int:
        """Pixels of which the place of a tile in a photo must be a multiple, along both axes."""
        plans = [decimation(kernel) if self.fast else None for kernel in self.kernels]
        return max(plan.factor if plan else 1 for plan in plans)

    def __len__(self) -> int:
        """Number of kernels; the stack has one image more."""
        return len(self.sizes)

    def extra_repr(self) -> str:
        """Describe the bank in one line, for ``print(network)``."""
        fast = ", fast" if self.fast else ""
        return f"{self.family}, sizes={list(self.sizes)}, match={self.match}, scale={self.scale:g}{fast}"


def _photo_size(size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise RequestError(f"`photo_size` is (height, width), both positive, but got {list(size)}; use [1024, 1536].")
    return size[0], size[1]


def _check_sizes(sizes: Sequence[int]) -> None:
    if not sizes:
        raise RequestError("`sizes` names at least one kernel size, but got []; use [25, 45, 75].")
    for size in sizes:
        if size < 3 or size % 2 == 0:
            near = f"{size - 1} or {size + 1}" if size > 3 else "3"
            raise RequestError(f"`sizes` are odd and at least 3, but got {list(sizes)}; use {near} instead of {size}.")
    if any(after <= before for before, after in itertools.pairwise(sizes)):
        better = sorted(set(sizes))
        raise RequestError(f"`sizes` are strictly increasing, but got {list(sizes)}; use {better}.")
