"""Causal attention to a window of the past by torch's scaled_dot_product_attention, for backends that have no window.

Queries go in strips of about the window's length, each with the keys that it can see and a mask of that rectangle, so
that time and memory grow with S times the window and not with the square of S. Half of a rectangle is masked: it takes
twice the products of a kernel that has windows, and the backward pass computes the forward pass again.

Shapes: B batch, S sequence, N query heads, K key/value heads (N a multiple of K), D head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops import sdpa
from steel_megatron.ops.cpu_products import in_fp32

LEAST = 64  # queries of a strip: fewer are not worth a call


def windowed(q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, window: int) -> Tensor:
    """softmax(q kᵀ / √D) v over each token and the ``window`` - 1 before it. → (B, S, N, D)."""
    result: Tensor = _Windowed.apply(q_BSND, k_BSKD, v_BSKD, window)
    return result


class _Windowed(torch.autograd.Function):
    """Saved: the inputs; neither strips of the output nor their statistics."""

    @staticmethod
    def forward(ctx: Any, q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, window: int) -> Tensor:
        ctx.save_for_backward(q_BSND, k_BSKD, v_BSKD)
        ctx.window = window
        y_BSND = torch.empty_like(q_BSND)
        for queries, keys in _strips(q_BSND.shape[1], window):
            strip = _attend(q_BSND[:, queries], k_BSKD[:, keys], v_BSKD[:, keys], window)
            y_BSND[:, queries] = strip
        return y_BSND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        inputs = ctx.saved_tensors
        # Neighbouring strips share keys: their gradients are added in fp32.
        q_BSND, k_BSKD, v_BSKD = inputs
        results = [torch.empty_like(q_BSND), *(torch.zeros_like(x, dtype=torch.float32) for x in inputs[1:])]
        for queries, keys in _strips(q_BSND.shape[1], ctx.window):
            parts = [
                x[:, place].detach().requires_grad_() for x, place in zip(inputs, (queries, keys, keys), strict=True)
            ]
            with torch.enable_grad():
                y = _attend(parts[0], parts[1], parts[2], ctx.window)
            grad_q, grad_k, grad_v = torch.autograd.grad(y, parts, grads[0][:, queries])
            results[0][:, queries] = grad_q
            results[1][:, keys] += grad_k
            results[2][:, keys] += grad_v
        return results[0], results[1].to(k_BSKD.dtype), results[2].to(v_BSKD.dtype), None


def _strips(length: int, window: int) -> Iterator[tuple[slice, slice]]:
    """Queries of a strip, and the keys that they see."""
    step = max(window, LEAST)
    for start in range(0, length, step):
        stop = min(start + step, length)
        yield slice(start, stop), slice(max(start - window + 1, 0), stop)


def _attend(q_BSND: Tensor, k_BPKD: Tensor, v_BPKD: Tensor, window: int) -> Tensor:
    """The queries are the last of the keys' positions."""
    new, total = q_BSND.shape[1], k_BPKD.shape[1]
    q, k, v = (x.float() if in_fp32(x) else x for x in (q_BSND, k_BPKD, v_BPKD))
    return sdpa.attend(q, k, v, attn_mask=seen(new, total, window, q.device)).to(q_BSND.dtype)


def seen(new: int, total: int, window: int | None, device: torch.device) -> Tensor:
    """Which of ``total`` positions each of the last ``new`` sees, (new, total)."""
    key = torch.arange(total, device=device)
    query = key[total - new :].unsqueeze(1)
    mask = key <= query
    return mask if window is None else mask & (key > query - window)
