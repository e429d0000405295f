"""Activations of the MLP, plain and gated, computed again in the backward pass: only the input is saved.

Shapes: x (…, F); gated (…, 2F), which holds the gate's F channels, then the up projection's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from steel_megatron.ops.formulas import activated_shape, register_activation
from steel_megatron.ops.native.library import call

# In the order of the kernels; see csrc/ops/declarations.h.
FUNCTIONS = ("silu", "gelu", "gelu_tanh", "relu", "squared_relu")


@torch.library.custom_op("steel::activation", mutates_args=())
def activation(x: Tensor, function: str, gated: bool) -> Tensor:
    """f(x), or f(gate) * up; (…, F)."""
    x = x.contiguous()
    y = x.new_empty(activated_shape(x, gated))
    call("activation_forward", x, x, y, FUNCTIONS.index(function), int(gated), *_rows(y, gated))
    return y


@torch.library.custom_op("steel::activation_backward", mutates_args=())
def activation_backward(grad: Tensor, x: Tensor, function: str, gated: bool) -> Tensor:
    """The gradient of ``x``."""
    grad, x = grad.contiguous(), x.contiguous()
    result = torch.empty_like(x)
    call("activation_backward", x, grad, x, result, FUNCTIONS.index(function), int(gated), *_rows(grad, gated))
    return result


def _rows(y: Tensor, gated: bool) -> tuple[int, int]:
    return (math.prod(y.shape[:-1]), y.shape[-1]) if gated else (1, y.numel())


register_activation(activation, activation_backward)
