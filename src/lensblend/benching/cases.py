"""What is measured: one system, on one device, by one engine, for photos of one size in batches of one size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import median, quantiles
from typing import Any

BASELINE_SIZE = (1024, 1536)


@dataclass(frozen=True)
class System:
    """A trained network, or a published method with random weights.

    Attributes:
        name: By which tables call it.
        model: Its checkpoint, exported file or run's folder, or `default`; None for a published method.
        node: A published method's network, as the configuration describes it; None for a trained one.
    """

    name: str
    model: str | None = None
    node: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Case:
    """One row of the table, before it is measured.

    Attributes:
        system: What renders.
        image_size: Height and width of the photos; None for the size that a trained network works at, and 1024×1536 for
            a published method.
        device: ``auto``, ``cpu`` or ``cuda``.
        engine: One of `lensblend.inference.engines.ENGINES`.
        precision: One of `lensblend.inference.engines.PRECISIONS`.
        batch: Photos at once.
        rounds: Batches that are timed after the first one.
    """

    system: System
    image_size: tuple[int, int] | None = None
    device: str = "auto"
    engine: str = "torch"
    precision: str = "fp32"
    batch: int = 1
    rounds: int = 5


def cases_of(
    systems: Sequence[System],
    image_sizes: Sequence[tuple[int, int] | None],
    devices: Sequence[str],
    engines: Sequence[str],
    precisions: Sequence[str],
    batches: Sequence[int],
    rounds: int,
) -> Iterator[Case]:
    """Give every combination once, the system changing last and the batch first."""
    for system, size, device, engine, precision, batch in product(
        systems, image_sizes, devices, engines, precisions, batches
    ):
        yield Case(system, size, device, engine, precision, batch, rounds)


@dataclass(frozen=True)
class Measured:
    """What one case cost.

    Attributes:
        hardware: What computed it.
        device: ``cpu`` or ``cuda``.
        image_size: Height and width of the photos.
        network_size: Height and width at which the network worked.
        first_seconds: Of the first batch in a fresh process, which begins the engine and fills its caches.
        seconds: Of each batch after it.
        peak_bytes: Most memory at once: on a GPU what PyTorch had allocated there, else all that the process held.
        parameters: Number of weights.
        macs: Multiply-accumulates of one batch.
        bytes: On disk: of the model's file; of a published method, of its weights in single precision.
    """

    hardware: str
    device: str
    image_size: tuple[int, int]
    network_size: tuple[int, int]
    first_seconds: float
    seconds: tuple[float, ...]
    peak_bytes: int
    parameters: int
    macs: int
    bytes: int

    @property
    def median(self) -> float:
        """Median seconds of a batch after the first."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """Seconds between the first and the third quartile; of a single batch 0.

        Example:
            >>> Measured("CPU", "cpu", (32, 48), (32, 48), 9.0, (1.0, 2.0, 3.0, 4.0, 9.0), 1, 1, 1, 1).spread
            2.0
        """
        if len(self.seconds) == 1:
            return 0.0
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return high - low


@dataclass(frozen=True)
class Row:
    """A case and what came of it: either ``measured``, or the ``reason`` why it was not."""

    case: Case
    measured: Measured | None = field(default=None)
    reason: str | None = None

    @property
    def seconds_a_photo(self) -> float | None:
        """Median seconds for each photo of a batch; None where nothing was measured."""
        return None if self.measured is None else self.measured.median / self.case.batch
