"""RoPE, half-split; linear, so nothing but the angles is saved, and the backward pass turns the other way.

Shapes: B batch, S sequence, N heads, D head size, R rotated channels; cosine and sine (1 or B, S, 1, R/2) fp32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.native.library import call


@torch.library.custom_op("steel::rope", mutates_args=())
def rope(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    """The first R channels of each head, rotated (``back``: the other way); contiguous. Strided input is not copied."""
    batch, length, _, size = x_BSND.shape
    tables, half = cosine.shape[0], cosine.shape[-1]
    if tables not in (1, batch) or cosine.shape != (tables, length, 1, half) or 2 * half > size:
        raise ValueError(f"angles of shape {tuple(cosine.shape)} for heads of shape {tuple(x_BSND.shape)}")
    if x_BSND.stride(-1) != 1:
        x_BSND = x_BSND.contiguous()
    y = x_BSND.new_empty(x_BSND.shape)
    strides = x_BSND.stride()[:3]
    direction = -1.0 if back else 1.0
    angles = cosine.contiguous(), sine.contiguous()
    # An address, a 64-bit integer like the others: call demands contiguous tensors, and this kernel takes strides.
    call("rope", y, x_BSND.data_ptr(), *angles, y, *x_BSND.shape, half, *strides, tables, direction)
    return y


@rope.register_fake
def _(x_BSND: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    return x_BSND.new_empty(x_BSND.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, bool], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])
    ctx.back = inputs[3]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    return rope(grad, *ctx.saved_tensors, not ctx.back), None, None, None


rope.register_autograd(_backward, setup_context=_keep)
