"""torch's scaled_dot_product_attention, in fp32 arithmetic where a CPU has no fast products of 16-bit numbers.

Shapes: B batch, S sequence, N query heads, K key/value heads (N a multiple of K), D head size, P positions in a cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from steel_megatron.ops.cpu_products import in_fp32

ELEMENTS = 1 << 20  # of queries that are cast to fp32 at a time


def causal(q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, kernel: SDPBackend | None = None) -> Tensor:
    """Causal attention, (B, S, N, D), by a kernel of torch's, or the one that it picks."""
    if in_fp32(q_BSND):
        return _CausalInFp32.apply(q_BSND, k_BSKD, v_BSKD, kernel)
    return _causal(q_BSND, k_BSKD, v_BSKD, kernel)


def masked(q_BSND: Tensor, k_BPKD: Tensor, v_BPKD: Tensor, mask: Tensor | None) -> Tensor:
    """Attention over the positions of a cache that ``mask`` (broadcast to B, N, S, P) leaves; without gradients."""
    q, k, v = (x.float() if in_fp32(x) else x for x in (q_BSND, k_BPKD, v_BPKD))
    return attend(q, k, v, attn_mask=mask).to(q_BSND.dtype)


def _causal(q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, kernel: SDPBackend | None) -> Tensor:
    with nullcontext() if kernel is None else sdpa_kernel(kernel):
        return attend(q_BSND, k_BSKD, v_BSKD, is_causal=True)


def attend(q_BSND: Tensor, k_BPKD: Tensor, v_BPKD: Tensor, **mask: Any) -> Tensor:
    """The call itself, in the order of axes of this package; ``mask``: ``attn_mask`` or ``is_causal``."""
    q, k, v = (x.transpose(1, 2) for x in (q_BSND, k_BPKD, v_BPKD))
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1], **mask).transpose(1, 2)


class _CausalInFp32(torch.autograd.Function):
    """Some heads at a time, so that their copies in fp32 stay small.

    Saved: the inputs in 16 bits; the backward pass computes the forward pass again rather than keep an fp32 copy of
    inputs and output.
    """

    @staticmethod
    def forward(ctx: Any, q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, kernel: SDPBackend | None) -> Tensor:
        ctx.save_for_backward(q_BSND, k_BSKD, v_BSKD)
        ctx.kernel = kernel
        y_BSND = torch.empty_like(q_BSND)
        for queries, keys in _pieces(q_BSND, k_BSKD):
            y_BSND[queries] = _causal(q_BSND[queries].float(), k_BSKD[keys].float(), v_BSKD[keys].float(), kernel)
        return y_BSND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        inputs = ctx.saved_tensors
        results = tuple(torch.empty_like(x) for x in inputs)
        for queries, keys in _pieces(*inputs[:2]):
            places = (queries, keys, keys)
            parts = [x[place].detach().float().requires_grad_() for x, place in zip(inputs, places, strict=True)]
            with torch.enable_grad():
                y = _causal(parts[0], parts[1], parts[2], ctx.kernel)
            found = torch.autograd.grad(y, parts, grads[0][queries].float())
            for result, place, grad in zip(results, places, found, strict=True):
                result[place] = grad
        return results[0], results[1], results[2], None


Place = tuple[slice, slice, slice]


def _pieces(q_BSND: Tensor, k_BSKD: Tensor) -> Iterator[tuple[Place, Place]]:
    """Samples and groups of heads: where their queries are, and their keys."""
    batch, length, heads, size = q_BSND.shape
    kv_heads = k_BSKD.shape[2]
    group = heads // kv_heads
    step = max(ELEMENTS // max(length * size * group, 1), 1)
    every = slice(None)
    for sample in range(batch):
        for first in range(0, kv_heads, step):
            last = min(first + step, kv_heads)
            row = slice(sample, sample + 1)
            yield (row, every, slice(first * group, last * group)), (row, every, slice(first, last))
