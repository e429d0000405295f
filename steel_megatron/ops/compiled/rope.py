"""RoPE, half-split, as in :mod:`steel_megatron.ops.native.rope`; nothing but the angles is saved.

Shapes: B batch, S sequence, N query and K key/value heads, D head size, R rotated channels, C = (N + 2 K) D channels of
the projection of queries, keys and values; cosine and sine (1 or B, S, 1, R/2) fp32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.compiled.compiler import fused


def _turned(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    half = cosine.shape[-1]
    first, second, rest = x_BSND.split([half, half, x_BSND.shape[-1] - 2 * half], dim=-1)
    first, second = first.float(), second.float()
    sine = -sine if back else sine
    parts = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.cat([*(part.to(x_BSND.dtype) for part in parts), rest], dim=-1)


@fused
def _turn(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    return _turned(x_BSND, cosine, sine, back).contiguous()


@fused
def _turn_in_place(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> None:
    x_BSND.copy_(_turned(x_BSND, cosine, sine, back))


@fused
def _join(grad_q: Tensor, grad_k: Tensor, grad_v: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    q, k = (_turned(part, cosine, sine, True).flatten(2) for part in (grad_q, grad_k))
    return torch.cat([q, k, grad_v.flatten(2)], dim=-1)


@torch.library.custom_op("steel_compiled::rope", mutates_args=())
def rope(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    """The first R channels of each head, rotated (``back``: the other way); contiguous."""
    return _turn(x_BSND, cosine, sine, back)


@torch.library.custom_op("steel_compiled::rope_", mutates_args=("x_BSND",))
def rope_(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> None:
    """The same in place."""
    _turn_in_place(x_BSND, cosine, sine, back)


@torch.library.custom_op("steel_compiled::rope_heads_backward", mutates_args=())
def rope_heads_backward(
    grad_q_BSND: Tensor, grad_k_BSKD: Tensor, grad_v_BSKD: Tensor, cosine: Tensor, sine: Tensor
) -> Tensor:
    """The gradient (B, S, C) of a projection: those of queries and keys turned back, and that of values."""
    return _join(grad_q_BSND, grad_k_BSKD, grad_v_BSKD, cosine, sine)


rope.register_fake(lambda x_BSND, cosine, sine, back: x_BSND.new_empty(x_BSND.shape))
rope_.register_fake(lambda x_BSND, cosine, sine, back: None)


@rope_heads_backward.register_fake
def _(grad_q_BSND: Tensor, grad_k_BSKD: Tensor, grad_v_BSKD: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    parts = grad_q_BSND, grad_k_BSKD, grad_v_BSKD
    return grad_q_BSND.new_empty(*grad_q_BSND.shape[:2], sum(part.shape[2] * part.shape[3] for part in parts))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, bool], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])
    ctx.back = inputs[3]


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    return rope(grad, *ctx.saved_tensors, not ctx.back), None, None, None


rope.register_autograd(_autograd, setup_context=_keep)
