"""Checkpoints of networks that have changed since are refused with what has changed, not taken for something else."""

from pathlib import Path

import pytest
import torch

from lensblend.errors import DataError
from lensblend.networks.dual_bokehnet import DualBokehNet
from lensblend.networks.edge_guided_residual import EdgeGuidedResidual
from lensblend.networks.ensemble import Ensemble
from lensblend.runs.weights import check_fits


def earlier_bokehnet(state):
    """Biases in the transitions, none before the pixel shuffles."""
    shuffled = ("enlarge.0.bias", "enlarge_again.0.bias")
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(shuffled)}
    transitions = [name for name in kept if ".transitions." in name]
    return kept | {name.replace("weight", "bias"): torch.zeros(4) for name in transitions}


def earlier_attention(state):
    return {name.replace("attention.expand", "attention.output"): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("network", "earlier", "said"),
    [
        (DualBokehNet(width=4), earlier_bokehnet, "holds a DualBokehNet with biases in its transitions"),
        (DualBokehNet(width=4, memory="memnet"), earlier_bokehnet, "holds a DualBokehNet"),
        (Ensemble([DualBokehNet(width=4)]), earlier_bokehnet, "holds a DualBokehNet"),
        (EdgeGuidedResidual(width=2, attention=True), earlier_attention, "an EdgeGuidedResidual whose attention"),
    ],
)
def test_a_checkpoint_of_an_earlier_network_says_what_has_changed(network, earlier, said):
    state = network.state_dict()
    check_fits(network, state, Path("new.ckpt"))
    with pytest.raises(DataError, match=rf"old.ckpt .*{said}.*train it again, or use the version of lensblend"):
        check_fits(network, earlier(state), Path("old.ckpt"))


def test_another_network_is_not_taken_for_an_earlier_one():
    with pytest.raises(DataError, match="holds another network"):
        check_fits(DualBokehNet(width=4), EdgeGuidedResidual(width=2).state_dict(), Path("other.ckpt"))
    without = EdgeGuidedResidual(width=2)
    check_fits(without, without.state_dict(), Path("same.ckpt"))
