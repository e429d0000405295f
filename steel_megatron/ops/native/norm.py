"""RMSNorm alone and with the residual addition.

Shapes: x rows of H elements (any leading dimensions), weight_H; T rows in all. Saved: the normalised input and one fp32
number per row.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.native.library import call

# Partial sums of the weight's gradient: fixed, so that the result depends on nothing but the rows.
PARTIAL_ROWS = {"cpu": 64, "cuda": 256}


@torch.library.custom_op("steel::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(y, rstd_T)."""
    x = x.contiguous()
    y, rstd_T = torch.empty_like(x), _statistics(x)
    call("rms_norm_forward", x, x, None, weight_H.contiguous(), y, None, rstd_T, *_shape(x), epsilon)
    return y, rstd_T


@torch.library.custom_op("steel::add_rms_norm", mutates_args=())
def add_rms_norm(x: Tensor, residual: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """(norm of the sum, sum = x + residual, rstd_T)."""
    x, residual = x.contiguous(), residual.contiguous()
    y, total, rstd_T = torch.empty_like(x), torch.empty_like(x), _statistics(x)
    call("rms_norm_forward", x, x, residual, weight_H.contiguous(), y, total, rstd_T, *_shape(x), epsilon)
    return y, total, rstd_T


@torch.library.custom_op("steel::rms_norm_backward", mutates_args=())
def rms_norm_backward(
    grad: Tensor, grad_sum: Tensor | None, x: Tensor, weight_H: Tensor, rstd_T: Tensor
) -> tuple[Tensor, Tensor]:
    """(gradient of x, with ``grad_sum`` added; gradient of the weight)."""
    grad, x = grad.contiguous(), x.contiguous()
    rows, hidden = _shape(x)
    partial = torch.empty(min(rows, PARTIAL_ROWS[x.device.type]), hidden, dtype=torch.float32, device=x.device)
    grad_x, grad_weight = torch.empty_like(x), torch.empty(hidden, dtype=torch.float32, device=x.device)
    extra = None if grad_sum is None else grad_sum.contiguous()
    weight = weight_H.contiguous()
    call("rms_norm_backward", x, grad, extra, x, weight, rstd_T, grad_x, grad_weight, partial, rows, hidden)
    return grad_x, grad_weight.to(weight_H.dtype)


def _shape(x: Tensor) -> tuple[int, int]:
    return math.prod(x.shape[:-1]), x.shape[-1]


def _statistics(x: Tensor) -> Tensor:
    return x.new_empty(math.prod(x.shape[:-1]), dtype=torch.float32)


def _like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@rms_norm.register_fake
def _(x: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    return _like(x), _statistics(x)


@add_rms_norm.register_fake
def _(x: Tensor, residual: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    return _like(x), _like(x), _statistics(x)


@rms_norm_backward.register_fake
def _(grad: Tensor, grad_sum: Tensor | None, x: Tensor, weight_H: Tensor, rstd_T: Tensor) -> tuple[Tensor, Tensor]:
    return _like(x), _like(weight_H)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[1])


def _backward(ctx: Any, grad: Tensor, grad_rstd: Tensor | None) -> tuple[Tensor, Tensor, None]:
    grad_x, grad_weight = rms_norm_backward(grad, None, *ctx.saved_tensors)
    return grad_x, grad_weight, None


def _keep_sum(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1], inputs[2], output[2])


def _add_backward(
    ctx: Any, grad: Tensor, grad_sum: Tensor | None, grad_rstd: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, None]:
    grad_x, grad_weight = rms_norm_backward(grad, grad_sum, *ctx.saved_tensors)
    return grad_x, grad_x, grad_weight, None


rms_norm.register_autograd(_backward, setup_context=_keep)
add_rms_norm.register_autograd(_add_backward, setup_context=_keep_sum)
