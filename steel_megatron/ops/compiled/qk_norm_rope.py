"""RMSNorm of heads and RoPE out of a fused projection, as in :mod:`steel_megatron.ops.native.qk_norm_rope`.

Shapes: B batch, S sequence, N query and K key/value heads, D head size, C = (N + 2 K) D channels of the projection,
M = N + K heads that are normalised; cosine and sine (1 or B, S, 1, R/2) fp32, None: nothing is rotated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.compiled.compiler import fused
from steel_megatron.ops.formulas import register_qk_norm_rope


def _turned(x_BSMD: Tensor, cosine: Tensor | None, sine: Tensor | None) -> Tensor:
    """fp32 heads, rotated."""
    if cosine is None or sine is None:
        return x_BSMD
    half = cosine.shape[-1]
    first, second, rest = x_BSMD.split([half, half, x_BSMD.shape[-1] - 2 * half], dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], dim=-1)


def _parts(qkv_BSC: Tensor, queries: int, size: int) -> tuple[Tensor, ...]:
    heads = qkv_BSC.unflatten(-1, (-1, size))
    keys = (heads.shape[2] - queries) // 2
    return heads.split([queries, keys, keys], dim=2)


@torch.library.custom_op("steel_compiled::qk_norm_rope", mutates_args=())
@fused
def qk_norm_rope(
    qkv_BSC: Tensor,
    query_weight_D: Tensor,
    key_weight_D: Tensor,
    cosine: Tensor | None,
    sine: Tensor | None,
    queries: int,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    """(query heads, then key heads, (B, S, M, D); 1 / root of each head's mean square, (B, S, M) fp32)."""
    q, k, _ = _parts(qkv_BSC, queries, len(query_weight_D))
    heads, rstds = [], []
    for part, weight in ((q, query_weight_D), (k, key_weight_D)):
        x = part.float()
        rstd = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
        heads.append(_turned(x * rstd * weight.float(), cosine, sine).to(qkv_BSC.dtype))
        rstds.append(rstd.squeeze(-1))
    return torch.cat(heads, dim=2), torch.cat(rstds, dim=2)


@torch.library.custom_op("steel_compiled::qk_norm_rope_backward", mutates_args=())
@fused
def qk_norm_rope_backward(
    grad_q_BSND: Tensor,
    grad_k_BSKD: Tensor,
    grad_v_BSKD: Tensor,
    qkv_BSC: Tensor,
    query_weight_D: Tensor,
    key_weight_D: Tensor,
    rstd_BSM: Tensor,
    cosine: Tensor | None,
    sine: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the projection (B, S, C), in which that of values is a copy, and of both weights."""
    q, k, _ = _parts(qkv_BSC, grad_q_BSND.shape[2], len(query_weight_D))
    rstds = rstd_BSM.unsqueeze(-1).split([q.shape[2], k.shape[2]], dim=2)
    back = None if sine is None else -sine
    grads, weights = [], []
    for part, given, weight, rstd in zip(
        (q, k), (grad_q_BSND, grad_k_BSKD), (query_weight_D, key_weight_D), rstds, strict=True
    ):
        grad, n = _turned(given.float(), cosine, back), part.float() * rstd
        g = grad * weight.float()
        grads.append(((g - n * (g * n).mean(-1, keepdim=True)) * rstd).to(qkv_BSC.dtype))
        weights.append((grad * n).sum((0, 1, 2)).to(weight.dtype))
    return torch.cat([*grads, grad_v_BSKD], dim=2).flatten(2), weights[0], weights[1]


register_qk_norm_rope(qk_norm_rope, qk_norm_rope_backward)
