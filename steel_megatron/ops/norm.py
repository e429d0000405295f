"""RMSNorm and LayerNorm over the last dimension; statistics in fp32 whatever the type of the input.

Shapes: x_TH rows of H elements (any leading dimensions), weight_H, bias_H, rstd_T1 fp32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from steel_megatron.ops import apex, transformer_engine
from steel_megatron.ops.backends import fused, pick
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.ops.compiled import norm as compiled
from steel_megatron.ops.native import norm as native
from steel_megatron.ops.operations import KERNELS_OR_COMPILED, Operation, declare
from steel_megatron.ops.strips import row_strips

_FUSED = {"steel": native, "compiled": compiled}


def rms_norm(x: Tensor, weight_H: Tensor, epsilon: float) -> Tensor:
    """``x / sqrt(mean(x²) + epsilon) * weight``, rounded once to the type of ``x`` (Zhang and Sennrich, 2019)."""
    name = pick("rms_norm", x, weight_H)
    if name in _FUSED:
        return _FUSED[name].rms_norm(x, weight_H, epsilon)[0]
    return _RMS_NORM[name](x, weight_H, epsilon)


def _torch_rms_norm(x: Tensor, weight_H: Tensor, epsilon: float) -> Tensor:
    if x.device.type == "cpu":
        return _RMSNorm.apply(x, weight_H, epsilon)
    return F.rms_norm(x, weight_H.shape, weight_H, epsilon)


_RMS_NORM = {
    "te": transformer_engine.rms_norm,
    "apex": apex.rms_norm,
    "torch": _torch_rms_norm,
}


def rms_norm_beside(x: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(:func:`rms_norm` of x, x): backward adds the gradients of both while it computes the norm's."""
    name = pick("rms_norm", x, weight_H)
    if name in _FUSED:
        return _NormBeside.apply(x, weight_H, None, epsilon, name)
    return rms_norm(x, weight_H, epsilon), x


def add_rms_norm(x: Tensor, residual: Tensor, weight_H: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(:func:`rms_norm` of x + residual, x + residual): the sum is read again while it is in the cache."""
    kernels = fused("rms_norm", _FUSED, x, residual, weight_H)
    if kernels is not None and x.shape == residual.shape:
        return kernels.add_rms_norm(x, residual, weight_H, epsilon)[:2]
    total = x + residual
    return rms_norm(total, weight_H, epsilon), total


def layer_norm(x: Tensor, weight_H: Tensor, bias_H: Tensor | None, epsilon: float) -> Tensor:
    """``(x - mean) / sqrt(var + epsilon) * weight + bias`` (Ba et al., 2016)."""
    name = pick("layer_norm", x, weight_H, bias_H)
    if name in _FUSED:
        return _FUSED[name].layer_norm(x, weight_H, _bias(weight_H, bias_H), epsilon)[0]
    return _LAYER_NORM[name](x, weight_H, bias_H, epsilon)


def layer_norm_beside(x: Tensor, weight_H: Tensor, bias_H: Tensor | None, epsilon: float) -> tuple[Tensor, Tensor]:
    """(:func:`layer_norm` of x, x), like :func:`rms_norm_beside`."""
    name = pick("layer_norm", x, weight_H, bias_H)
    if name in _FUSED:
        return _NormBeside.apply(x, weight_H, _bias(weight_H, bias_H), epsilon, name)
    return layer_norm(x, weight_H, bias_H, epsilon), x


def add_layer_norm(
    x: Tensor, residual: Tensor, weight_H: Tensor, bias_H: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor]:
    """(:func:`layer_norm` of x + residual, x + residual), like :func:`add_rms_norm`."""
    kernels = fused("layer_norm", _FUSED, x, residual, weight_H, bias_H)
    if kernels is not None and x.shape == residual.shape:
        return kernels.add_layer_norm(x, residual, weight_H, _bias(weight_H, bias_H), epsilon)[:2]
    total = x + residual
    return layer_norm(total, weight_H, bias_H, epsilon), total


def _bias(weight_H: Tensor, bias_H: Tensor | None) -> Tensor:
    return torch.zeros_like(weight_H) if bias_H is None else bias_H


def _torch_layer_norm(x: Tensor, weight_H: Tensor, bias_H: Tensor | None, epsilon: float) -> Tensor:
    return F.layer_norm(x, weight_H.shape, weight_H, bias_H, epsilon)


_LAYER_NORM = {
    "te": transformer_engine.layer_norm,
    "apex": apex.layer_norm,
    "torch": _torch_layer_norm,
}


class _NormBeside(torch.autograd.Function):
    """RMSNorm, or with a bias LayerNorm, and x itself. Saves x and the statistics of its rows."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_H: Tensor, bias_H: Tensor | None, epsilon: float, name: str
    ) -> tuple[Tensor, Tensor]:
        ctx.kernels = kernels = _FUSED[name]
        if bias_H is None:
            y, *statistics = kernels.rms_norm(x, weight_H, epsilon)
        else:
            y, *statistics = kernels.layer_norm(x, weight_H, bias_H, epsilon)
        ctx.save_for_backward(x, weight_H, *statistics)
        ctx.set_materialize_grads(False)
        return y, x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        grad, grad_beside = grads
        if grad is None:
            return grad_beside, None, None, None, None
        x, weight_H, *statistics = ctx.saved_tensors
        if len(statistics) == 1:
            return *ctx.kernels.rms_norm_backward(grad, grad_beside, x, weight_H, *statistics), None, None, None
        return *ctx.kernels.layer_norm_backward(grad, grad_beside, x, weight_H, *statistics), None, None


class _RMSNorm(torch.autograd.Function):
    """Saves the input and one fp32 number per row; torch's own CPU version keeps whole fp32 copies.

    With n = x * rstd and g = grad * weight: grad_x = rstd * (g - n * mean(g * n)), grad_weight = Σ rows grad * n.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_H: Tensor, epsilon: float) -> Tensor:
        hidden = weight_H.numel()
        x_TH = x.reshape(-1, hidden)
        rstd_T1 = x.new_empty((len(x_TH), 1), dtype=torch.float32)
        weight = weight_H.float()
        y_TH = torch.empty_like(x_TH)
        for rows in row_strips(len(x_TH), hidden, x.device):
            norm_T1 = torch.linalg.vector_norm(x_TH[rows], dim=-1, keepdim=True, dtype=torch.float32)
            rstd_T1[rows] = norm_T1.square_().div_(hidden).add_(epsilon).rsqrt_()
            torch.mul(x_TH[rows] * rstd_T1[rows], weight, out=y_TH[rows])
        ctx.save_for_backward(x, weight_H, rstd_T1)
        return y_TH.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight_H, rstd_T1 = ctx.saved_tensors
        hidden = weight_H.numel()
        x_TH, grad_TH = x.reshape(-1, hidden), grads[0].reshape(-1, hidden)
        weight = weight_H.float()
        grad_weight = torch.zeros_like(weight)
        grad_x_TH = torch.empty_like(x_TH)
        for rows in row_strips(len(x_TH), hidden, x.device):
            rstd = rstd_T1[rows]
            normed = x_TH[rows] * rstd
            grad = grad_TH[rows].float()
            product = grad * normed
            grad_weight += product.sum(0)
            mean_T1 = (product @ weight).div_(hidden).unsqueeze(1)
            grad_x_TH[rows] = torch.addcmul(grad * weight, normed, mean_T1, value=-1).mul_(rstd)
        return grad_x_TH.view_as(x), grad_weight.to(weight_H.dtype), None


def _rms_norm_case(at: Setting) -> Case:
    weight_H = torch.nn.Parameter(at.random(at.model.hidden_size, seed=1))
    return at.differentiable(lambda x, weight_H: rms_norm(x, weight_H, 1e-5), [at.hidden(), weight_H])


def _layer_norm_case(at: Setting) -> Case:
    weight_H = torch.nn.Parameter(at.random(at.model.hidden_size, seed=1))
    bias_H = at.random(at.model.hidden_size)
    return at.differentiable(lambda x, w_H, b_H: layer_norm(x, w_H, b_H, 1e-5), [at.hidden(), weight_H, bias_H])


_BACKENDS = ("steel", "compiled", "te", "apex", "torch")
declare("rms_norm", Operation("RMSNorm", _BACKENDS, KERNELS_OR_COMPILED, price=1.5, case=_rms_norm_case))
declare("layer_norm", Operation("LayerNorm", _BACKENDS, KERNELS_OR_COMPILED, case=_layer_norm_case))
