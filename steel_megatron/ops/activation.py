"""Activations of the MLP.

Shapes: gate_up (…, 2F) holds the gate's F channels, then the up projection's; plain activations take (…, F).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from steel_megatron.ops.backends import fused
from steel_megatron.ops.compiled import activation as compiled
from steel_megatron.ops.native import activation as native
from steel_megatron.ops.strips import row_strips

_FUSED = {"steel": native, "compiled": compiled}


def gated_activation(gate_up: Tensor, name: str) -> Tensor:
    """``act(gate) * up`` for ``name`` "swiglu" (SiLU) or "geglu" (exact GELU); Shazeer, 2020. (…, 2F) → (…, F)."""
    if name not in _GATES:
        raise ValueError(f"{name!r} is not a gated activation")
    kernels = fused("activation", _FUSED, gate_up)
    if kernels is not None:
        return kernels.activation(gate_up, _GATES[name], True)
    return _Gated.apply(gate_up, _GATES[name])


def plain_activation(x: Tensor, name: str) -> Tensor:
    """Element by element: "gelu", "gelu_tanh", "relu", "squared_relu" (So et al., 2021) or "silu"."""
    kernels = fused("gelu" if name == "gelu" else "activation", _FUSED, x)
    if kernels is not None:
        return kernels.activation(x, name, False)
    return PLAIN[name](x)


_GATES = {"swiglu": "silu", "geglu": "gelu"}


def _squared_relu(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


# In torch's own operations, which torch.compile fuses with others.
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
    "squared_relu": _squared_relu,
    "silu": F.silu,
}


# What a gate goes through: forward, and its gradient written where it belongs.
_GATED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[..., Tensor]]] = {
    "silu": (F.silu, torch.ops.aten.silu_backward.grad_input),
    "gelu": (F.gelu, torch.ops.aten.gelu_backward.grad_input),
}


class _Gated(torch.autograd.Function):
    """Saves its input only; the activation is computed again in the backward pass, and gradients need no cat."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, name: str) -> Tensor:
        ctx.save_for_backward(gate_up)
        ctx.name = name
        gate, up = gate_up.chunk(2, dim=-1)
        return _GATED[name][0](gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (gate_up,) = ctx.saved_tensors
        activate, write_gradient = _GATED[ctx.name]
        width = gate_up.shape[-1]
        flat, grad = gate_up.reshape(-1, width), grads[0].reshape(-1, width // 2)
        result = torch.empty_like(flat)
        for rows in row_strips(len(flat), width, flat.device):
            gate, up = flat[rows].chunk(2, dim=-1)
            grad_gate, grad_up = result[rows].chunk(2, dim=-1)
            torch.mul(grad[rows], activate(gate), out=grad_up)
            write_gradient(grad[rows] * up, gate, grad_input=grad_gate)
        return result.view_as(gate_up), None
