"""RMSNorm of query and key heads and RoPE in one pass over a fused projection, and its gradient written in one pass.

Shapes: B batch, S sequence, N query and K key/value heads, D head size, C = (N + 2 K) D channels of the projection,
M = N + K heads that are normalised; cosine and sine (1 or B, S, 1, R/2) fp32, None: nothing is rotated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.formulas import normed_heads, register_qk_norm_rope
from steel_megatron.ops.native import library
from steel_megatron.ops.native.library import call
from steel_megatron.ops.native.signatures import Address

# Partial sums of the weights' gradients: fixed, so that the result depends on nothing but the number of tokens.
PARTIAL_TOKENS = {"cpu": 64, "cuda": 1024}


@torch.library.custom_op("steel::qk_norm_rope", mutates_args=())
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
    qkv_BSC = qkv_BSC.contiguous()
    shape = _shape(qkv_BSC, query_weight_D, queries)
    heads, rstd = normed_heads(qkv_BSC, query_weight_D, queries)
    angles = _angles(qkv_BSC, cosine, sine)
    weights = query_weight_D.contiguous(), key_weight_D.contiguous()
    call("qk_norm_rope_forward", qkv_BSC, qkv_BSC, *weights, *angles, heads, rstd, *shape, *_turned(cosine), epsilon)
    return heads, rstd


@torch.library.custom_op("steel::qk_norm_rope_backward", mutates_args=())
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
    qkv_BSC, queries = qkv_BSC.contiguous(), grad_q_BSND.shape[2]
    grads = [g if g.stride(-1) == 1 else g.contiguous() for g in (grad_q_BSND, grad_k_BSKD, grad_v_BSKD)]
    shape = _shape(qkv_BSC, query_weight_D, queries)
    for grad, heads in zip(grads, (queries, shape[3], shape[3]), strict=True):
        if grad.shape != (*qkv_BSC.shape[:2], heads, shape[4]):
            raise ValueError(f"a gradient of {tuple(grad.shape)} for a projection of {tuple(qkv_BSC.shape)}")
    result, totals = torch.empty_like(qkv_BSC), qkv_BSC.new_empty(2, shape[4], dtype=torch.float32)
    tokens = shape[0] * shape[1]
    if tokens == 0:  # tensors without elements look like null pointers
        totals.zero_()
    else:
        partial = totals.new_empty(min(tokens, PARTIAL_TOKENS[library.kind(qkv_BSC.device)]), 2, shape[4])
        kept = qkv_BSC, query_weight_D.contiguous(), key_weight_D.contiguous(), rstd_BSM.contiguous()
        half, tables = _turned(cosine)
        addresses = [Address(grad.data_ptr()) for grad in grads]  # strides are given
        strides = [stride for grad in grads for stride in grad.stride()[:3]]
        outputs = *_angles(qkv_BSC, cosine, sine), result, totals, partial
        call("qk_norm_rope_backward", qkv_BSC, *addresses, *kept, *outputs, *shape, half, *strides, tables)
    # Two tensors: results of an operation may not share memory.
    return result, *(total.to(query_weight_D.dtype, copy=True) for total in totals)


def _shape(qkv_BSC: Tensor, weight_D: Tensor, queries: int) -> tuple[int, int, int, int, int]:
    """B, S, N, K, D."""
    batch, length, channels = qkv_BSC.shape
    others, both = channels - queries * len(weight_D), 2 * len(weight_D)
    keys = others // both
    if others % both or keys < 1:
        raise ValueError(f"{channels} channels are not {queries} query heads of {len(weight_D)}, and keys and values")
    return batch, length, queries, keys, len(weight_D)


def _turned(cosine: Tensor | None) -> tuple[int, int]:
    """(R/2, number of tables)."""
    return (0, 1) if cosine is None else (cosine.shape[-1], len(cosine))


def _angles(qkv_BSC: Tensor, cosine: Tensor | None, sine: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if cosine is None or sine is None:
        return None, None
    batch, length, _ = qkv_BSC.shape
    if cosine.shape[:3] not in ((1, length, 1), (batch, length, 1)):
        raise ValueError(f"angles of shape {tuple(cosine.shape)} for a projection of {tuple(qkv_BSC.shape)}")
    return cosine.contiguous(), sine.contiguous()


register_qk_norm_rope(qk_norm_rope, qk_norm_rope_backward)
