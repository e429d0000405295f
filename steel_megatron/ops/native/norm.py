"""RMSNorm and LayerNorm, alone and with the residual addition.

Shapes: x rows of H elements (any leading dimensions), weight_H, bias_H; T rows in all. Saved: the normalised input and
one fp32 number per row, LayerNorm two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from steel_megatron.ops.formulas import register_norm, row_statistics
from steel_megatron.ops.native import library
from steel_megatron.ops.native.library import call

# Partial sums of the weight's gradient: fixed, so that the result depends on nothing but the rows.
PARTIAL_ROWS = {"cpu": 64, "cuda": 512}


@torch.library.custom_op("steel::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(y, rstd_T)."""
    x = x.contiguous()
    y, rstd_T = torch.empty_like(x), row_statistics(x)
    call("norm_forward", x, x, None, weight_H.contiguous(), None, y, None, None, rstd_T, *_shape(x), epsilon)
    return y, rstd_T


@torch.library.custom_op("steel::add_rms_norm", mutates_args=())
def add_rms_norm(x: Tensor, residual: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """(norm of the sum, sum = x + residual, rstd_T)."""
    x, residual = x.contiguous(), residual.contiguous()
    y, total, rstd_T = torch.empty_like(x), torch.empty_like(x), row_statistics(x)
    call("norm_forward", x, x, residual, weight_H.contiguous(), None, y, total, None, rstd_T, *_shape(x), epsilon)
    return y, total, rstd_T


@torch.library.custom_op("steel::rms_norm_backward", mutates_args=())
def rms_norm_backward(
    grad: Tensor, grad_sum: Tensor | None, x: Tensor, weight_H: Tensor, rstd_T: Tensor
) -> tuple[Tensor, Tensor]:
    """(gradient of x, with ``grad_sum`` added; gradient of the weight)."""
    grad_x, grads_1H = _backward_kernel(grad, grad_sum, x, weight_H, None, rstd_T)
    return grad_x, grads_1H[0].to(weight_H.dtype)


@torch.library.custom_op("steel::layer_norm", mutates_args=())
def layer_norm(x: Tensor, weight_H: Tensor, bias_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """(y, mean_T, rstd_T)."""
    x, weight, bias = x.contiguous(), weight_H.contiguous(), bias_H.contiguous()
    y, mean_T, rstd_T = torch.empty_like(x), row_statistics(x), row_statistics(x)
    call("norm_forward", x, x, None, weight, bias, y, None, mean_T, rstd_T, *_shape(x), epsilon)
    return y, mean_T, rstd_T


@torch.library.custom_op("steel::add_layer_norm", mutates_args=())
def add_layer_norm(
    x: Tensor, residual: Tensor, weight_H: Tensor, bias_H: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(norm of the sum, sum = x + residual, mean_T, rstd_T)."""
    x, residual, weight, bias = (t.contiguous() for t in (x, residual, weight_H, bias_H))
    y, total, mean_T, rstd_T = torch.empty_like(x), torch.empty_like(x), row_statistics(x), row_statistics(x)
    call("norm_forward", x, x, residual, weight, bias, y, total, mean_T, rstd_T, *_shape(x), epsilon)
    return y, total, mean_T, rstd_T


@torch.library.custom_op("steel::layer_norm_backward", mutates_args=())
def layer_norm_backward(
    grad: Tensor, grad_sum: Tensor | None, x: Tensor, weight_H: Tensor, mean_T: Tensor, rstd_T: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(gradient of x, with ``grad_sum`` added; gradients of weight and bias, in the type of the weight)."""
    grad_x, grads_2H = _backward_kernel(grad, grad_sum, x, weight_H, mean_T, rstd_T)
    # Two tensors: results of an operation may not share memory.
    return grad_x, grads_2H[0].to(weight_H.dtype, copy=True), grads_2H[1].to(weight_H.dtype, copy=True)


def _backward_kernel(
    grad: Tensor, grad_sum: Tensor | None, x: Tensor, weight_H: Tensor, mean_T: Tensor | None, rstd_T: Tensor
) -> tuple[Tensor, Tensor]:
    grad, x, weight = grad.contiguous(), x.contiguous(), weight_H.contiguous()
    grad_sum = None if grad_sum is None else grad_sum.contiguous()
    rows, hidden = _shape(x)
    kinds = 1 if mean_T is None else 2
    grad_x, totals = torch.empty_like(x), x.new_empty(kinds, hidden, dtype=torch.float32)
    if rows == 0:  # tensors without elements look like null pointers
        return grad_x, totals.zero_()
    partial = totals.new_empty(min(rows, PARTIAL_ROWS[library.kind(x.device)]), kinds, hidden)
    call("norm_backward", x, grad, grad_sum, x, weight, mean_T, rstd_T, grad_x, totals, partial, rows, hidden)
    return grad_x, totals


def _shape(x: Tensor) -> tuple[int, int]:
    return math.prod(x.shape[:-1]), x.shape[-1]


register_norm(rms_norm, add_rms_norm, rms_norm_backward)
register_norm(layer_norm, add_layer_norm, layer_norm_backward)
