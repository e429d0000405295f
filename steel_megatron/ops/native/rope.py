"""RoPE, half-split; linear, so nothing but the angles is saved, and the backward pass turns the other way.

Shapes: B batch, S sequence, N query and K key/value heads, D head size, R rotated channels, C = (N + 2 K) D channels of
the projection of queries, keys and values; cosine and sine (1 or B, S, 1, R/2) fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.formulas import register_rope
from steel_megatron.ops.native.library import call
from steel_megatron.ops.native.signatures import Address


@torch.library.custom_op("steel::rope", mutates_args=())
def rope(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    """The first R channels of each head, rotated (``back``: the other way); contiguous. Strided input is not copied."""
    y = x_BSND.new_empty(x_BSND.shape)
    _turn(x_BSND, y, cosine, sine, back)
    return y


@torch.library.custom_op("steel::rope_", mutates_args=("x_BSND",))
def rope_(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> None:
    """The same in place; the channels of a head are neighbours."""
    if x_BSND.stride(-1) != 1:
        raise ValueError(f"channels of a head are {x_BSND.stride(-1)} elements apart: they must be neighbours")
    _turn(x_BSND, x_BSND, cosine, sine, back)


@torch.library.custom_op("steel::rope_heads_backward", mutates_args=())
def rope_heads_backward(
    grad_q_BSND: Tensor, grad_k_BSKD: Tensor, grad_v_BSKD: Tensor, cosine: Tensor, sine: Tensor
) -> Tensor:
    """The gradient (B, S, C) of a projection: those of queries and keys turned back, and that of values."""
    parts = grad_q_BSND, grad_k_BSKD, grad_v_BSKD
    sizes = [part.shape[2] * part.shape[3] for part in parts]
    result = grad_q_BSND.new_empty(*grad_q_BSND.shape[:2], sum(sizes))
    for number, (part, place) in enumerate(zip(parts, result.split(sizes, dim=-1), strict=True)):
        _turn(part, _heads(place, part.shape[-1]), cosine, sine, True, turned=number < 2)
    return result


def _heads(x_BSC: Tensor, head_dim: int) -> Tensor:
    return x_BSC.unflatten(-1, (-1, head_dim))


def _turn(x_BSND: Tensor, y: Tensor, cosine: Tensor, sine: Tensor, back: bool, *, turned: bool = True) -> None:
    """Rotates x into y; copies it where it is not to be turned."""
    batch, length, _, size = x_BSND.shape
    tables, half = cosine.shape[0], cosine.shape[-1]
    if tables not in (1, batch) or cosine.shape != (tables, length, 1, half) or 2 * half > size:
        raise ValueError(f"angles of shape {tuple(cosine.shape)} for heads of shape {tuple(x_BSND.shape)}")
    x = x_BSND if x_BSND.stride(-1) == 1 else x_BSND.contiguous()
    places = Address(x.data_ptr()), cosine.contiguous(), sine.contiguous(), Address(y.data_ptr())
    strides = (*x.stride()[:3], *y.stride()[:3])
    call("rope", y, *places, *x.shape, half if turned else 0, *strides, tables, -1.0 if back else 1.0)


register_rope(rope, rope_, rope_heads_backward)
