"""NVIDIA's apex: fused norms and Adam over many tensors.

Shapes: x rows of H elements (any leading dimensions), weight_H, bias_H.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

MODULES = ("amp_C", "fused_layer_norm_cuda", "apex.normalization.fused_layer_norm", "apex.multi_tensor_apply")


def rms_norm(x: Tensor, weight_H: Tensor, epsilon: float) -> Tensor:
    """RMSNorm over the last dimension; saves the input and one fp32 number per row."""
    norms = _module("apex.normalization.fused_layer_norm")
    return norms.fused_rms_norm_affine(x, weight_H, weight_H.shape, epsilon)


def layer_norm(x: Tensor, weight_H: Tensor, bias_H: Tensor | None, epsilon: float) -> Tensor:
    """LayerNorm over the last dimension; saves the input and two fp32 numbers per row."""
    norms = _module("apex.normalization.fused_layer_norm")
    bias_H = torch.zeros_like(weight_H) if bias_H is None else bias_H
    return norms.fused_layer_norm_affine(x, weight_H, bias_H, weight_H.shape, epsilon)


def adamw_(
    masters: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    scale: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
) -> None:
    """One AdamW step on fp32 tensors; the kernel writes the scaled gradients back. Nothing waits for the device.

    Args:
        scale: what gradients are multiplied by, a scalar on the device; not a number: nothing changes.
        step: number of this step, from 1.
    """
    kernel = _module("amp_C").multi_tensor_adam_capturable
    skip = scale.isnan().to(torch.int32).reshape(1)
    numbers = torch.full((1,), lr, dtype=torch.float32, device=scale.device)
    steps = torch.full((1,), step, dtype=torch.int32, device=scale.device)
    decoupled_decay, bias_correction = 1, 1
    _module("apex.multi_tensor_apply").multi_tensor_applier(
        kernel,
        skip,
        [list(grads), list(masters), list(exp_avgs), list(exp_avg_sqs)],
        numbers,
        beta1,
        beta2,
        epsilon,
        steps,
        decoupled_decay,
        bias_correction,
        weight_decay,
        scale.float().reshape(1),
    )


@functools.cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(name)
