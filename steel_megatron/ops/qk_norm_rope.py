"""Queries, keys and values out of a fused projection: RMSNorm of query and key heads, then RoPE (Henry et al., 2020).

Shapes: B batch, S sequence, N query and K key/value heads, D head size, C = (N + 2 K) D channels of the projection.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.backends import fused
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.ops.compiled import qk_norm_rope as compiled
from steel_megatron.ops.native import qk_norm_rope as native
from steel_megatron.ops.norm import rms_norm
from steel_megatron.ops.operations import KERNELS_OR_COMPILED, Operation, declare
from steel_megatron.ops.rope import RopeSettings, Rotation, rotate, rotation

_FUSED = {"steel": native, "compiled": compiled}


def qk_norm_rope(
    qkv_BSC: Tensor,
    query_weight_D: Tensor,
    key_weight_D: Tensor,
    epsilon: float,
    by: Rotation | None,
    queries: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, S, N, D), (B, S, K, D) twice; values are a view of the projection.

    ``queries`` is N. Fused, it is computed in fp32 and rounded once; it reads the projection where it lies, and its
    backward pass writes the projection's gradient in one. Torch's operations round after the norm and after the
    rotation.
    """
    kernels = fused("qk_norm_rope", _FUSED, qkv_BSC, query_weight_D, key_weight_D)
    if kernels is not None:
        cosine, sine = (None, None) if by is None else (by.cos, by.sin)
        q_BSND, k_BSKD, v_BSKD = _QKNormRope.apply(
            qkv_BSC, query_weight_D, key_weight_D, cosine, sine, queries, epsilon, kernels
        )
        return q_BSND, k_BSKD, v_BSKD
    q_BSND, k_BSKD, v_BSKD = split_heads(qkv_BSC, queries, len(query_weight_D))
    q_BSND, k_BSKD = rms_norm(q_BSND, query_weight_D, epsilon), rms_norm(k_BSKD, key_weight_D, epsilon)
    if by is not None:
        q_BSND, k_BSKD = rotate(q_BSND, by), rotate(k_BSKD, by)
    return q_BSND, k_BSKD, v_BSKD


def split_heads(qkv_BSC: Tensor, queries: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The projection's heads as views."""
    heads = qkv_BSC.unflatten(-1, (-1, head_dim))
    keys = (heads.shape[2] - queries) // 2
    q_BSND, k_BSKD, v_BSKD = heads.split([queries, keys, keys], dim=2)
    return q_BSND, k_BSKD, v_BSKD


class _QKNormRope(torch.autograd.Function):
    """Saves the projection, which attention keeps for its values anyway, and one fp32 number per head."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv_BSC: Tensor,
        query_weight_D: Tensor,
        key_weight_D: Tensor,
        cosine: Tensor | None,
        sine: Tensor | None,
        queries: int,
        epsilon: float,
        kernels: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.kernels = kernels
        heads_BSMD, rstd_BSM = kernels.qk_norm_rope(
            qkv_BSC, query_weight_D, key_weight_D, cosine, sine, queries, epsilon
        )
        ctx.save_for_backward(qkv_BSC, query_weight_D, key_weight_D, rstd_BSM, cosine, sine)
        _, _, v_BSKD = split_heads(qkv_BSC, queries, len(query_weight_D))
        return heads_BSMD[:, :, :queries], heads_BSMD[:, :, queries:], v_BSKD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.kernels.qk_norm_rope_backward(*grads, *ctx.saved_tensors), *[None] * 5


def _case(at: Setting) -> Case:
    queries, size = at.model.num_attention_heads, at.model.head_dim
    qkv_BSC = at.random(at.batch, at.length, (queries + 2 * at.model.query_groups) * size)
    query_D, key_D = at.random(size, seed=1), at.random(size, seed=2)
    leaves = [tensor.requires_grad_() for tensor in (qkv_BSC, query_D, key_D)]
    grads = at.heads()
    by = rotation(RopeSettings.from_config(at.model), at.length, at.device)

    def run() -> list[Tensor]:
        heads = qk_norm_rope(qkv_BSC, query_D, key_D, 1e-6, by, queries)
        return [*heads, *torch.autograd.grad(heads, leaves, grads)]

    return Case(tuple(leaves), run, run)


declare(
    "qk_norm_rope",
    Operation("norms of queries and keys with RoPE", ("steel", "compiled", "torch"), KERNELS_OR_COMPILED, case=_case),
)
