"""What the adaptor of apex calls, with apex's signatures: calls are checked, and torch computes on a CPU."""

from __future__ import annotations

import types

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from steel_megatron.ops import apex, available, backends

CHUNK = 2048 * 32


def fused_rms_norm_affine(
    input: Tensor, weight: Tensor, normalized_shape: torch.Size, eps: float = 1e-6, memory_efficient: bool = False
) -> Tensor:
    """In apex an operation of the input's type; the weight has it too."""
    _check_norm(input, normalized_shape, weight)
    return F.rms_norm(input.float(), normalized_shape, weight.float(), eps).to(input.dtype)


def fused_layer_norm_affine(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    normalized_shape: torch.Size,
    eps: float = 1e-6,
    memory_efficient: bool = False,
) -> Tensor:
    """As above, with a bias that must be there."""
    _check_norm(input, normalized_shape, weight, bias)
    return F.layer_norm(input.float(), normalized_shape, weight.float(), bias.float(), eps).to(input.dtype)


def _check_norm(input: Tensor, normalized_shape: torch.Size, *parameters: Tensor) -> None:
    assert tuple(normalized_shape) == (input.shape[-1],)
    for parameter in parameters:
        assert parameter.dtype == input.dtype
        assert parameter.shape == normalized_shape


def multi_tensor_adam_capturable(
    chunk_size: int,
    noop_flag: Tensor,
    tensor_lists: list[list[Tensor]],
    lr: Tensor,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: Tensor,
    mode: int,
    bias_correction: int,
    weight_decay: float,
    inv_scale: Tensor,
) -> None:
    """Lists of gradients, weights, first and second moments; ``mode`` 1 is AdamW. The gradients are scaled in place."""
    assert chunk_size == CHUNK
    assert (noop_flag.dtype, noop_flag.shape) == (torch.int32, (1,))
    assert (lr.dtype, lr.numel()) == (torch.float32, 1)
    assert (step.dtype, step.numel()) == (torch.int32, 1)
    assert (inv_scale.dtype, inv_scale.numel()) == (torch.float32, 1)
    assert (mode, bias_correction) == (1, 1)
    assert len(tensor_lists) == 4
    assert len({len(tensors) for tensors in tensor_lists}) == 1
    if noop_flag.item() == 1:
        return
    corrections = 1 - beta1 ** step.item(), 1 - beta2 ** step.item()
    for grad, weight, exp_avg, exp_avg_sq in zip(*tensor_lists, strict=True):
        for tensor in (grad, weight, exp_avg, exp_avg_sq):
            assert tensor.dtype == torch.float32
            assert tensor.is_contiguous()
            assert tensor.numel() == weight.numel()
        grad.mul_(inv_scale)
        exp_avg.lerp_(grad, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        update = exp_avg / corrections[0] / ((exp_avg_sq / corrections[1]).sqrt() + epsilon)
        weight.sub_((update + weight_decay * weight) * lr)


def multi_tensor_applier(op, noop_flag_buffer, tensor_lists, *args):
    return op(CHUNK, noop_flag_buffer, tensor_lists, *args)


def use_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--kernel-backend apex`` on a CPU until the end of the test."""
    modules = {
        "amp_C": {"multi_tensor_adam_capturable": multi_tensor_adam_capturable},
        "fused_layer_norm_cuda": {},
        "apex.normalization.fused_layer_norm": {
            "fused_rms_norm_affine": fused_rms_norm_affine,
            "fused_layer_norm_affine": fused_layer_norm_affine,
        },
        "apex.multi_tensor_apply": {"multi_tensor_applier": multi_tensor_applier},
    }
    assert modules.keys() == set(apex.MODULES)
    made = {name: types.SimpleNamespace(**names) for name, names in modules.items()}
    monkeypatch.setattr(apex, "_module", made.__getitem__)
    monkeypatch.setattr(available, "why_no_gpu", lambda device_type, **limits: None)
    monkeypatch.setattr(available, "why_not_importable", lambda *names: None)
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    backends.use_kernel_backend("apex", "cpu")
