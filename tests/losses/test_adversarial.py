"""Hinges and feature distances, by hand."""

import pytest
import torch

from lensblend.losses.adversarial import FeatureMatching, HingeDiscriminator, HingeGenerator


def logits(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


def answer(*logits_of_scales):
    """One scale per tensor of logits, each after features that a hinge must not see."""
    return [[torch.full((1, 2, 3, 3), 9.0), scale] for scale in logits_of_scales]


def test_a_discriminators_hinge_counts_what_is_not_beyond_one():
    real, fake = answer(logits(2.0, 0.5), logits(-1.0)), answer(logits(-3.0, 0.0), logits(-0.5))
    # First scale: (0 + 0.5) / 2 + (0 + 1) / 2; second: 2 + 0.5.
    assert HingeDiscriminator()(real, fake).item() == pytest.approx((0.75 + 2.5) / 2)


def test_real_and_fake_are_not_alike():
    sure = answer(logits(1.5)), answer(logits(-1.5))
    assert HingeDiscriminator()(*sure).item() == 0
    assert HingeDiscriminator()(*reversed(sure)).item() == 5


def test_a_generators_hinge_is_the_mean_of_scales_and_has_no_bound():
    fake = answer(logits(2.0, 4.0), logits(-1.0))
    assert HingeGenerator()(fake).item() == pytest.approx((-3 + 1) / 2)
    scores = logits(50.0).requires_grad_()
    HingeGenerator()(answer(scores)).backward()
    assert scores.grad.item() == -1


def test_features_are_added_over_layers_and_averaged_over_scales_without_logits():
    def scale(first, second, last):
        return [torch.full((1, 2, 4, 4), first), torch.full((1, 8, 2, 2), second), torch.full((1, 1, 1, 1), last)]

    real, fake = [scale(0.0, 1.0, 7.0), scale(2.0, 0.0, 0.0)], [scale(0.5, -1.0, 0.0), scale(2.0, 0.25, 5.0)]
    assert FeatureMatching()(real, fake).item() == pytest.approx((0.5 + 2.0 + 0.0 + 0.25) / 2)


def test_targets_features_get_no_gradient():
    real, fake = torch.zeros(1, 1, 2, 2, requires_grad=True), torch.ones(1, 1, 2, 2, requires_grad=True)
    FeatureMatching()([[real, logits(0.0)]], [[fake, logits(0.0)]]).backward()
    assert real.grad is None
    assert torch.equal(fake.grad, torch.full((1, 1, 2, 2), 0.25))


def test_half_precision_answers_are_averaged_in_float32():
    half = [[features.bfloat16() for features in scale] for scale in answer(torch.full((1, 1, 64, 64), 0.3))]
    value = 1 + torch.tensor(0.3).bfloat16().float()
    losses = HingeDiscriminator()(half, half), HingeGenerator()(half), FeatureMatching()(half, half)
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert losses[0].item() == pytest.approx(value.item() + (2 - value).item(), abs=1e-6)


def test_scales_come_in_equal_number():
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is longer"):
        HingeDiscriminator()(answer(logits(0.0)), answer(logits(0.0), logits(0.0)))
