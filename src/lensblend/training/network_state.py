"""The state dict of what trains a network is the network's alone, under the network's own names."""

from __future__ import annotations

from typing import Any

from torch import nn

NETWORK = "network."


def network_alone(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Reduce a state to the network's, under its own keys."""
    own = [key for key in state if key.startswith(prefix)]
    values = {key: state.pop(key) for key in own}
    inner = f"{prefix}{NETWORK}"
    state.update({prefix + key.removeprefix(inner): value for key, value in values.items() if key.startswith(inner)})


def network_within(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Turn what `network_alone` left into what PyTorch looks for; all but the network stays as it is."""
    values = {key: state.pop(key) for key in list(state) if key.startswith(prefix)}
    state.update({f"{prefix}{NETWORK}{key.removeprefix(prefix)}": value for key, value in values.items()})
    for name, part in module.named_children():
        if f"{name}." != NETWORK:
            part.state_dict(destination=state, prefix=f"{prefix}{name}.")
