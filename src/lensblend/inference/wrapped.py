"""A network around another one."""

from __future__ import annotations

from collections.abc import Sequence

from lensblend.nn.kernel_bank import KernelBank
from lensblend.nn.rendering import BokehNetwork


class WrappedNetwork(BokehNetwork):
    """A network that takes what another takes, and can do what it can, and renders by it in its own way.

    Args:
        network: The other one.
    """

    def __init__(self, network: BokehNetwork) -> None:
        super().__init__()
        self.network = network
        self.guidance, self.estimates, self.averages = network.guidance, network.estimates, network.averages
        self.takes_coordinates, self.blends_full_size = network.takes_coordinates, network.blends_full_size
        self.eval()

    @property
    def reference_bank(self) -> KernelBank | None:
        """The network's own."""
        return self.network.reference_bank

    @property
    def map_names(self) -> Sequence[str]:
        """The network's own."""
        return self.network.map_names

    @property
    def f_numbers(self) -> tuple[float, float] | None:
        """The network's own."""
        return self.network.f_numbers
