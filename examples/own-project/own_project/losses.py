"""Losses: modules that compare what a network returns with what is known."""

import torch
from torch import Tensor, nn


class Charbonnier(nn.Module):
    """Average the absolute difference, rounded off where it is small.

    Args:
        epsilon: How small.

    Example:
        >>> Charbonnier(epsilon=0.0)(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.25)).item()
        0.25
    """

    def __init__(self, epsilon: float = 1e-3) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the mean over all values of a batch."""
        return torch.sqrt((predicted - truth).square() + self.epsilon**2).mean()
