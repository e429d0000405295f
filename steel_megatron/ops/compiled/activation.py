"""Activations of the MLP, as in :mod:`steel_megatron.ops.native.activation`; only the input is saved.

Shapes: x (…, F); gated (…, 2F), which holds the gate's F channels, then the up projection's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from steel_megatron.ops.compiled.compiler import fused
from steel_megatron.ops.formulas import activated_shape, register_activation


def _act(x: Tensor, function: str) -> Tensor:
    if function == "silu":
        return F.silu(x)
    if function in ("gelu", "gelu_tanh"):
        return F.gelu(x, approximate="tanh" if function == "gelu_tanh" else "none")
    return F.relu(x) if function == "relu" else F.relu(x).square()


def _act_gradient(grad: Tensor, x: Tensor, function: str) -> Tensor:
    if function == "silu":
        return torch.ops.aten.silu_backward(grad, x)
    if function in ("gelu", "gelu_tanh"):
        return torch.ops.aten.gelu_backward(grad, x, approximate="tanh" if function == "gelu_tanh" else "none")
    return grad * (x > 0) if function == "relu" else grad * 2 * F.relu(x)


@fused
def _forward(x: Tensor, function: str, gated: bool) -> Tensor:
    if not gated:
        return _act(x.float(), function).to(x.dtype)
    gate, up = x.float().chunk(2, dim=-1)
    return (_act(gate, function) * up).to(x.dtype)


@fused
def _backward(grad: Tensor, x: Tensor, function: str, gated: bool) -> Tensor:
    if not gated:
        return _act_gradient(grad.float(), x.float(), function).to(x.dtype)
    (gate, up), grad_fp32 = x.float().chunk(2, dim=-1), grad.float()
    return torch.cat([_act_gradient(grad_fp32 * up, gate, function), grad_fp32 * _act(gate, function)], -1).to(x.dtype)


@torch.library.custom_op("steel_compiled::activation", mutates_args=())
def activation(x: Tensor, function: str, gated: bool) -> Tensor:
    """f(x), or f(gate) * up; (…, F).

    Raises:
        ValueError: a gate and what it lets through have not as many channels.
    """
    shape = activated_shape(x, gated)
    return _forward(x.reshape(-1, x.shape[-1]), function, gated).view(shape)


@torch.library.custom_op("steel_compiled::activation_backward", mutates_args=())
def activation_backward(grad: Tensor, x: Tensor, function: str, gated: bool) -> Tensor:
    """The gradient of ``x``."""
    rows, grads = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    return _backward(grads, rows, function, gated).view(x.shape)


register_activation(activation, activation_backward)
