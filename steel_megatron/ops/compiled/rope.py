"""RoPE, half-split, as in :mod:`steel_megatron.ops.native.rope`; nothing but the angles is saved.

Shapes: B batch, S sequence, N query and K key/value heads, D head size, R rotated channels, C = (N + 2 K) D channels of
the projection of queries, keys and values; cosine and sine (1 or B, S, 1, R/2) fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.compiled.compiler import fused
from steel_megatron.ops.formulas import register_rope


def _turned(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    half = cosine.shape[-1]
    first, second, rest = x_BSND.split([half, half, x_BSND.shape[-1] - 2 * half], dim=-1)
    first, second = first.float(), second.float()
    sine = -sine if back else sine
    parts = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.cat([*(part.to(x_BSND.dtype) for part in parts), rest], dim=-1)


@torch.library.custom_op("steel_compiled::rope", mutates_args=())
@fused
def rope(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    """The first R channels of each head, rotated (``back``: the other way); contiguous."""
    return _turned(x_BSND, cosine, sine, back).contiguous()


@torch.library.custom_op("steel_compiled::rope_", mutates_args=("x_BSND",))
@fused
def rope_(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> None:
    """The same in place."""
    x_BSND.copy_(_turned(x_BSND, cosine, sine, back))


@torch.library.custom_op("steel_compiled::rope_heads_backward", mutates_args=())
@fused
def rope_heads_backward(
    grad_q_BSND: Tensor, grad_k_BSKD: Tensor, grad_v_BSKD: Tensor, cosine: Tensor, sine: Tensor
) -> Tensor:
    """The gradient (B, S, C) of a projection: those of queries and keys turned back, and that of values."""
    q, k = (_turned(part, cosine, sine, True).flatten(2) for part in (grad_q_BSND, grad_k_BSKD))
    return torch.cat([q, k, grad_v_BSKD.flatten(2)], dim=-1)


register_rope(rope, rope_, rope_heads_backward)
