"""Activations of the MLP, plain and gated, computed again in the backward pass: only the input is saved.

Shapes: x (…, F); gated (…, 2F), which holds the gate's F channels, then the up projection's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.native.library import call

# In the order of the kernels; see csrc/ops/declarations.h.
FUNCTIONS = ("silu", "gelu", "gelu_tanh", "relu", "squared_relu")


@torch.library.custom_op("steel::activation", mutates_args=())
def activation(x: Tensor, function: str, gated: bool) -> Tensor:
    """f(x), or f(gate) * up; (…, F)."""
    x = x.contiguous()
    y = x.new_empty(_shape(x, gated))
    call("activation_forward", x, x, y, FUNCTIONS.index(function), int(gated), *_rows(y, gated))
    return y


@torch.library.custom_op("steel::activation_backward", mutates_args=())
def activation_backward(grad: Tensor, x: Tensor, function: str, gated: bool) -> Tensor:
    """The gradient of ``x``."""
    grad, x = grad.contiguous(), x.contiguous()
    result = torch.empty_like(x)
    call("activation_backward", x, grad, x, result, FUNCTIONS.index(function), int(gated), *_rows(grad, gated))
    return result


def _shape(x: Tensor, gated: bool) -> list[int]:
    if not gated:
        return list(x.shape)
    if x.shape[-1] % 2:
        raise ValueError(f"gate and up have {x.shape[-1]} channels together: it must be an even number")
    return [*x.shape[:-1], x.shape[-1] // 2]


def _rows(y: Tensor, gated: bool) -> tuple[int, int]:
    return (math.prod(y.shape[:-1]), y.shape[-1]) if gated else (1, y.numel())


@activation.register_fake
def _(x: Tensor, function: str, gated: bool) -> Tensor:
    return x.new_empty(_shape(x, gated))


@activation_backward.register_fake
def _(grad: Tensor, x: Tensor, function: str, gated: bool) -> Tensor:
    return x.new_empty(x.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, str, bool], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.function, ctx.gated = inputs[1:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return activation_backward(grad, *ctx.saved_tensors, ctx.function, ctx.gated), None, None


activation.register_autograd(_backward, setup_context=_keep)
