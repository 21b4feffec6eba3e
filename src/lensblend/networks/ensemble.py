"""Several networks that render one photo; the bokeh is their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lensblend.errors import RequestError
from lensblend.nn.rendering import BokehNetwork, Rendering


class Ensemble(BokehNetwork):
    """Average what several networks render.

    Members are trained one at a time by freezing the others: while some members are frozen (none of their parameters
    requires a gradient) and others are not, only the others render, and a step costs one member. Where all are frozen
    or none is, as in a finished ensemble, all render. A member without parameters counts as neither and renders always.

    Args:
        members: Networks; one at least.
        shares: How much each member counts, positive; they are divided by their sum, which runs over those that
            render. None counts all alike.

    Attributes:
        guidance: What `forward` needs beside the photo: all that any member needs.
        takes_coordinates: Whether any member uses the place of a crop in its photo.

    Raises:
        RequestError: There is no member, or a share is not positive and finite, or there are not as many as members,
            or only some of these take an f-number.

    Example:
        >>> from lensblend.networks.multiscale_hierarchical import MultiscaleHierarchical
        >>> network = Ensemble([MultiscaleHierarchical(width=2), MultiscaleHierarchical(width=4)]).eval()
        >>> bokeh, aux = network(torch.rand(1, 3, 32, 48))
        >>> bool(torch.allclose(bokeh, (aux["members"][0] + aux["members"][1]) / 2))
        True

    References:
        A. Ignatov et al., "AIM 2019 Challenge on Bokeh Effect Synthesis: Methods and Results", ICCV Workshops 2019,
        section 4.4, where team VIDAR combines the results of five networks. It does not say how: the mean is ours.
    """

    # What is known before it is built; members decide.
    guidance: tuple[str, ...] = ()
    takes_coordinates: bool = False

    def __init__(self, members: Sequence[BokehNetwork], shares: Sequence[float] | None = None) -> None:
        super().__init__()
        if not members:
            raise RequestError("`members` lists one network at least, but got none; list their nodes.")
        shares = [1.0] * len(members) if shares is None else list(shares)
        if len(shares) != len(members) or not all(math.isfinite(share) and share > 0 for share in shares):
            raise RequestError(
                f"`shares` has a positive number for each of {len(members)} members, but got {shares}; "
                "leave out a member that is not to count."
            )
        ranges = [member.f_numbers for member in members]
        if None in ranges and any(ranges):
            raise RequestError(
                "Of the members of an ensemble all take an f-number or none does, but "
                f"{type(members[ranges.index(None)]).__name__} takes none and others do; evaluate them apart."
            )
        self.members = nn.ModuleList(members)
        self.averages = len(members)
        self.shares = [float(share) for share in shares]
        self.guidance = tuple(dict.fromkeys(name for member in members for name in member.guidance))
        self.takes_coordinates = any(member.takes_coordinates for member in members)

    @property
    def f_numbers(self) -> tuple[float, float] | None:
        """The range that the members share, where they take an f-number; it begins with the largest of their least."""
        ranges = [found for member in self.members if (found := cast("BokehNetwork", member).f_numbers)]
        return (max(r[0] for r in ranges), min(r[1] for r in ranges)) if ranges else None

    def at_f_number(self, f_number: float | int) -> Ensemble:
        """Return the mean of the members as they render at an f-number.

        Raises:
            RequestError: It is not positive, or they take none.
        """
        return self._of([cast("BokehNetwork", member).at_f_number(f_number) for member in self.members])

    def forward(
        self,
        photo: Float[Tensor, "b 3 h w"],
        coordinates: Float[Tensor, "b 2 h w"] | None = None,
        f_number: Float[Tensor, " b"] | None = None,
        **guidance: Float[Tensor, "b 1 h w"],
    ) -> Rendering:
        """Render bokeh from a photo in [0, 1] and the maps that members ask for.

        Args:
            photo: Sides of 32 pixels or more.
            coordinates: Where each pixel of a crop is in the whole photo, (y, x) in [-1, 1]; None for a whole photo.
            f_number: Of each photo, where members take one.
            guidance: By the names of ``guidance``.

        Returns:
            ``bokeh``; where several members render, ``members``: a list of theirs; where one does, what it returns.

        Raises:
            RequestError: A map is missing, or nobody asks for it.
        """
        if set(guidance) != set(self.guidance):
            raise RequestError(
                f"The members take {list(self.guidance)} beside the photo, but got {list(guidance)}; pass these maps."
            )
        rendering = self._rendering()
        renderings = []
        for index in rendering:
            member = cast("BokehNetwork", self.members[index])
            wanted: dict[str, Any] = {name: guidance[name] for name in member.guidance}
            if member.takes_coordinates:
                wanted["coordinates"] = coordinates
            if member.f_numbers:
                wanted["f_number"] = f_number
            renderings.append(member(photo, **wanted))
        if len(renderings) == 1:
            return Rendering(*renderings[0])
        total = sum(self.shares[index] for index in rendering)
        parts = [r.bokeh * (self.shares[i] / total) for i, r in zip(rendering, renderings, strict=True)]
        return Rendering(torch.stack(parts).sum(dim=0), {"members": [r.bokeh for r in renderings]})

    def scaled(self, factor: float | int) -> Ensemble:
        """Return the mean of the members with blurs ``factor`` times as wide.

        Raises:
            RequestError: One of them has no bank of blurs.
        """
        return self._of([cast("BokehNetwork", member).scaled(factor) for member in self.members])

    def quick(self) -> Ensemble:
        """Return the mean of the members with fast blurs.

        Raises:
            RequestError: One of them has none.
        """
        return self._of([cast("BokehNetwork", member).quick() for member in self.members])

    def _of(self, members: Sequence[BokehNetwork]) -> Ensemble:
        return Ensemble(members, self.shares).train(self.training)

    def _rendering(self) -> list[int]:
        """Return the indices of the members that render now."""
        everyone = list(range(len(self.members)))
        gradients = [[parameter.requires_grad for parameter in member.parameters()] for member in self.members]
        frozen = [index for index in everyone if gradients[index] and not any(gradients[index])]
        trained = [index for index in everyone if any(gradients[index])]
        return [index for index in everyone if index not in frozen] if frozen and trained else everyone
