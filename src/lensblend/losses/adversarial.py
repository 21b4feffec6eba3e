"""Losses on what a discriminator of several scales answers: for each scale a list of features, the last its logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Answers = Sequence[Sequence[Tensor]]


class HingeDiscriminator(nn.Module):
    r"""Teach a discriminator: :math:`\max(0, 1 - D(\text{real})) + \max(0, 1 + D(\text{fake}))`, from 0 upwards.

    Each term is the mean over patches and images, and the loss is the mean over scales, in float32. What is fake is
    to be detached from its generator.

    Example:
        >>> real, fake = [[torch.tensor([[[[0.5]]]])]], [[torch.tensor([[[[-2.0]]]])]]
        >>> HingeDiscriminator()(real, fake).item()
        0.5

    References:
        T. Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018, equation 16.
    """

    def forward(self, real: Answers, fake: Answers) -> Float[Tensor, ""]:
        """Return the loss of the answers to targets and to renderings."""
        return torch.stack(
            [
                (1 - of_real[-1].float()).relu().mean() + (1 + of_fake[-1].float()).relu().mean()
                for of_real, of_fake in zip(real, fake, strict=True)
            ]
        ).mean()


class HingeGenerator(nn.Module):
    r"""Teach a generator to be taken for real: :math:`-D(\text{fake})`.

    The mean over patches and images, and then over scales, in float32. It may be negative.

    Example:
        >>> HingeGenerator()([[torch.tensor([[[[-2.0]]]])], [torch.tensor([[[[1.0]]]])]]).item()
        0.5

    References:
        T. Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018, equation 17.
    """

    def forward(self, fake: Answers) -> Float[Tensor, ""]:
        """Return the loss of the answers to renderings."""
        return torch.stack([-features[-1].float().mean() for features in fake]).mean()


class FeatureMatching(nn.Module):
    """Bring a discriminator's features of a rendering near those of its target, which get no gradient.

    Mean absolute differences, added up over layers without the logits, averaged over scales, in float32. SLYYM weighs
    them by 10.

    Example:
        >>> logits = torch.zeros(1, 1, 2, 2)
        >>> real, fake = [[torch.zeros(1, 4, 3, 3), logits]], [[torch.full((1, 4, 3, 3), 0.25), logits]]
        >>> FeatureMatching()(real, fake).item()
        0.25

    References:
        T.-C. Wang et al., "High-resolution image synthesis and semantic manipulation with conditional GANs",
        CVPR 2018, equation 4.
    """

    def forward(self, real: Answers, fake: Answers) -> Float[Tensor, ""]:
        """Return the distance between the answers to targets and to renderings."""
        scales = []
        for of_real, of_fake in zip(real, fake, strict=True):
            layers = zip(of_fake[:-1], of_real[:-1], strict=True)
            scales.append(torch.stack([(a.float() - b.detach().float()).abs().mean() for a, b in layers]).sum())
        return torch.stack(scales).mean()
