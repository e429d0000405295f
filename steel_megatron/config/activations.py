"""The activations of the feed-forward parts, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.registry import Registry, split

# An entry is a function of a tensor, element by element, in torch's operations. Behind a name, {gated: true} makes it
# the gate of a second projection, f(gate) * up; these two are gated by themselves.
GATED = ("swiglu", "geglu")
ACTIVATIONS: Registry[Callable[[Any], Any]] = Registry(
    "activation",
    "steel_megatron.activations",
    {
        "swiglu": "torch.nn.functional:silu",
        "geglu": "torch.nn.functional:gelu",
        "gelu": "torch.nn.functional:gelu",
        "gelu_tanh": "steel_megatron.ops.activation:gelu_tanh",
        "relu": "torch.nn.functional:relu",
        "squared_relu": "steel_megatron.ops.activation:squared_relu",
        "silu": "torch.nn.functional:silu",
    },
    wanted="a function of a tensor, element by element",
    parameters=True,
)


def is_gated(activation: str) -> bool:
    """Whether it is the gate of a second projection; loads nothing.

    Raises:
        ConfigError: parameters other than ``gated``, or of one that is gated by itself.
    """
    name, parameters = split(activation)
    gated = parameters.pop("gated", False)
    if parameters or not isinstance(gated, bool) or (name in GATED and activation != name):
        raise ConfigError(
            f"--activation {activation!r}",
            rule=f"the one parameter is gated, true or false; {' and '.join(GATED)} are gated by themselves",
            fix=f"{name} {{gated: true}}" if name not in GATED else name,
        )
    return gated or name in GATED
