"""Causal attention within documents, on a CPU: no matrix of scores, no mask, and no copy of grouped heads.

Shapes: T tokens of all documents, N query heads, K key/value heads (N a multiple of K), D head size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.formulas import like
from steel_megatron.ops.native import library
from steel_megatron.ops.native.signatures import Address, Argument

LARGEST_HEAD = 256  # the tiles of larger ones do not stay in a core's cache


def fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether :func:`attention` takes these heads, (…, N or K, D)."""
    return q.device.type == "cpu" and library.fits(q, k, v) and q.shape[-1] <= LARGEST_HEAD


@torch.library.custom_op("steel::attention", mutates_args=())
def attention(q_TND: Tensor, k_TKD: Tensor, v_TKD: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """(softmax(q kᵀ / √D) v over each token's past in its document, (T, N, D); log of its sum of exp, fp32 (N, T)).

    The tiles and the running maximum of FlashAttention (Dao, 2023). Strided heads are not copied. Saved: the inputs
    and the results.

    Args:
        starts: int32, where documents begin, and T.
    """
    heads = _heads(q_TND, k_TKD, v_TKD)
    tokens, count = _check(*heads, starts)
    y_TND = q_TND.new_empty(q_TND.shape)
    partition_NT = q_TND.new_empty((count, tokens), dtype=torch.float32)
    _call("attention_forward", heads, starts, *_addresses(heads), y_TND, partition_NT)
    return y_TND, partition_NT


@torch.library.custom_op("steel::attention_backward", mutates_args=())
def attention_backward(
    grad_TND: Tensor,
    q_TND: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    y_TND: Tensor,
    partition_NT: Tensor,
    starts: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values; contiguous."""
    heads = _heads(q_TND, k_TKD, v_TKD)
    _check(*heads, starts)
    grad_q, grad_k, grad_v = (x.new_empty(x.shape) for x in heads)
    kept = y_TND.contiguous(), partition_NT.contiguous()
    _call("attention_backward", heads, starts, grad_TND.contiguous(), *_addresses(heads), *kept, grad_q, grad_k, grad_v)
    return grad_q, grad_k, grad_v


def _heads(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    return q, k, v


def _check(q_TND: Tensor, k_TKD: Tensor, v_TKD: Tensor, starts: Tensor) -> tuple[int, int]:
    """(T, N); the kernel reads what all of these describe."""
    (tokens, count, size), groups = q_TND.shape, k_TKD.shape[1]
    if k_TKD.shape != v_TKD.shape or k_TKD.shape != (tokens, groups, size) or groups == 0 or count % groups:
        raise ValueError(f"heads of shape {', '.join(str(tuple(x.shape)) for x in (q_TND, k_TKD, v_TKD))}")
    if starts.dtype != torch.int32 or len(starts) < 1 or int(starts[0]) != 0 or int(starts[-1]) != tokens:
        raise ValueError(f"documents begin at {starts}: it must be int32, from 0 to {tokens} tokens")
    if bool((starts[1:] < starts[:-1]).any()):
        raise ValueError(f"documents begin at {starts}: they must be in order")
    return tokens, count


def _addresses(heads: tuple[Tensor, Tensor, Tensor]) -> list[Address]:
    return [Address(x.data_ptr()) for x in heads]


def _call(kernel: str, heads: tuple[Tensor, Tensor, Tensor], starts: Tensor, *given: Argument) -> None:
    q, k, _ = heads
    strides = [stride for x in heads for stride in x.stride()[:2]]
    shape = len(starts) - 1, q.shape[1], k.shape[1], q.shape[2]
    library.call(kernel, q, *given, starts.contiguous(), *shape, *strides, 1.0 / math.sqrt(q.shape[2]))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output, inputs[3])


def _backward(ctx: Any, grad: Tensor, grad_partition: Tensor | None) -> tuple[Tensor, Tensor, Tensor, None]:
    return *attention_backward(grad, *ctx.saved_tensors), None


attention.register_autograd(_backward, setup_context=_keep)
attention.register_fake(lambda q_TND, *_: (like(q_TND), q_TND.new_empty(q_TND.shape[1::-1], dtype=torch.float32)))
attention_backward.register_fake(lambda grad_TND, *given: tuple(map(like, given[:3])))
