"""RMSNorm and LayerNorm, alone and with the residual addition, as in :mod:`steel_megatron.ops.native.norm`.

Shapes: x rows of H elements (any leading dimensions), weight_H, bias_H; T rows in all. Saved: the normalised input and
one fp32 number per row, LayerNorm two.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.compiled.compiler import fused
from steel_megatron.ops.formulas import register_norm


@fused
def _forward(
    x_TH: Tensor, residual_TH: Tensor | None, weight_H: Tensor, bias_H: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """(y, what was normalised, mean_T or None, rstd_T); RMSNorm without a bias."""
    total_TH = x_TH if residual_TH is None else x_TH + residual_TH
    n = total_TH.float()
    mean_T1 = None
    if bias_H is not None:
        mean_T1 = n.mean(-1, keepdim=True)
        n = n - mean_T1
    rstd_T1 = torch.rsqrt(n.square().mean(-1, keepdim=True) + epsilon)
    y = n * rstd_T1 * weight_H.float()
    y = (y if bias_H is None else y + bias_H.float()).to(x_TH.dtype)
    return y, total_TH, None if mean_T1 is None else mean_T1.squeeze(1), rstd_T1.squeeze(1)


@fused
def _backward(
    grad_TH: Tensor, grad_sum_TH: Tensor | None, x_TH: Tensor, weight_H: Tensor, mean_T: Tensor | None, rstd_T: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(gradient of x, with grad_sum added; of the weight; of the bias): see csrc/ops/declarations.h for the formula."""
    rstd_T1 = rstd_T.unsqueeze(1)
    x = x_TH.float() if mean_T is None else x_TH.float() - mean_T.unsqueeze(1)
    n, grad = x * rstd_T1, grad_TH.float()
    g = grad * weight_H.float()
    inner = g - n * (g * n).mean(-1, keepdim=True)
    if mean_T is not None:
        inner = inner - g.mean(-1, keepdim=True)
    grad_x = inner * rstd_T1
    if grad_sum_TH is not None:
        grad_x = grad_x + grad_sum_TH.float()
    bias = None if mean_T is None else grad.sum(0).to(weight_H.dtype)
    return grad_x.to(x_TH.dtype), (grad * n).sum(0).to(weight_H.dtype), bias


@torch.library.custom_op("steel_compiled::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(y, rstd_T)."""
    y, _, _, rstd_T = _forward(_rows(x), None, weight_H, None, epsilon)
    return y.view(x.shape), rstd_T


@torch.library.custom_op("steel_compiled::add_rms_norm", mutates_args=())
def add_rms_norm(x: Tensor, residual: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """(norm of the sum, sum = x + residual, rstd_T)."""
    y, total, _, rstd_T = _forward(_rows(x), _rows(residual), weight_H, None, epsilon)
    return y.view(x.shape), total.view(x.shape), rstd_T


@torch.library.custom_op("steel_compiled::rms_norm_backward", mutates_args=())
def rms_norm_backward(
    grad: Tensor, grad_sum: Tensor | None, x: Tensor, weight_H: Tensor, rstd_T: Tensor
) -> tuple[Tensor, Tensor]:
    """(gradient of x, with ``grad_sum`` added; gradient of the weight)."""
    beside = None if grad_sum is None else _rows(grad_sum)
    grad_x, weight, _ = _backward(_rows(grad), beside, _rows(x), weight_H, None, rstd_T)
    return grad_x.view(x.shape), weight


@torch.library.custom_op("steel_compiled::layer_norm", mutates_args=())
def layer_norm(x: Tensor, weight_H: Tensor, bias_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """(y, mean_T, rstd_T)."""
    y, _, mean_T, rstd_T = _forward(_rows(x), None, weight_H, bias_H, epsilon)
    assert mean_T is not None
    return y.view(x.shape), mean_T, rstd_T


@torch.library.custom_op("steel_compiled::add_layer_norm", mutates_args=())
def add_layer_norm(
    x: Tensor, residual: Tensor, weight_H: Tensor, bias_H: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(norm of the sum, sum = x + residual, mean_T, rstd_T)."""
    y, total, mean_T, rstd_T = _forward(_rows(x), _rows(residual), weight_H, bias_H, epsilon)
    assert mean_T is not None
    return y.view(x.shape), total.view(x.shape), mean_T, rstd_T


@torch.library.custom_op("steel_compiled::layer_norm_backward", mutates_args=())
def layer_norm_backward(
    grad: Tensor, grad_sum: Tensor | None, x: Tensor, weight_H: Tensor, mean_T: Tensor, rstd_T: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(gradient of x, with ``grad_sum`` added; gradients of weight and bias, in the type of the weight)."""
    beside = None if grad_sum is None else _rows(grad_sum)
    grad_x, weight, bias = _backward(_rows(grad), beside, _rows(x), weight_H, mean_T, rstd_T)
    assert bias is not None
    return grad_x.view(x.shape), weight, bias


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


register_norm(rms_norm, add_rms_norm, rms_norm_backward)
register_norm(layer_norm, add_layer_norm, layer_norm_backward)
