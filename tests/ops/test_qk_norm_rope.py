"""Queries, keys and values out of a projection, ours and torch's, against fp64 and against each other."""

from __future__ import annotations

import pytest
import torch

from helpers.exact_rope import angles, exact_rope
from helpers.kernels import close, random, set_backend
from steel_megatron.ops.native import library
from steel_megatron.ops.qk_norm_rope import qk_norm_rope
from steel_megatron.ops.rope import Rotation

QUERIES, KEYS, SIZE = 4, 2, 16


def run(backend, monkeypatch, dtype, by):
    set_backend(monkeypatch, backend)
    qkv = random((2, 24, (QUERIES + 2 * KEYS) * SIZE), dtype, "cpu", 0).requires_grad_()
    weights = [random((SIZE,), dtype, "cpu", n).requires_grad_() for n in (1, 2)]
    heads = qk_norm_rope(qkv, *weights, 1e-6, by, QUERIES)
    grads = [random(tuple(x.shape), dtype, "cpu", n) for n, x in enumerate(heads)]
    torch.autograd.backward(heads, grads)
    return [*heads, qkv.grad, *(weight.grad for weight in weights)], grads


def exact(by):
    """The same in fp64, out of the same numbers."""
    qkv = random((2, 24, (QUERIES + 2 * KEYS) * SIZE), torch.bfloat16, "cpu", 0).double().requires_grad_()
    weights = [random((SIZE,), torch.bfloat16, "cpu", n).double().requires_grad_() for n in (1, 2)]
    q, k, v = qkv.unflatten(-1, (-1, SIZE)).split([QUERIES, KEYS, KEYS], dim=2)
    q, k = (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w for x, w in zip((q, k), weights, strict=True))
    if by is not None:
        q, k = exact_rope(q, by.cos.double(), by.sin.double()), exact_rope(k, by.cos.double(), by.sin.double())
    return [q, k, v], [qkv, *weights]


@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize("backend", ["torch", "steel"])
def test_against_fp64(monkeypatch, backend, rotated):
    if backend == "steel" and not library.built("cpu"):
        pytest.skip("steel_megatron._ops was not built")
    by = Rotation(*angles(1, 24, SIZE // 2, "cpu")) if rotated else None
    found, grads = run(backend, monkeypatch, torch.bfloat16, by)
    heads, leaves = exact(by)
    torch.autograd.backward(heads, [grad.double() for grad in grads])
    # Torch rounds the norm's result as well, and in backward what the norm gets: errors of terms, not of their sums.
    factor, absolute = (1.0, 1e-4) if backend == "steel" else (4.0, 0.1)
    for ours, theirs in zip(found[:3], heads, strict=True):
        close(ours, theirs, factor=factor, absolute=absolute)
    for ours, leaf in zip(found[3:], leaves, strict=True):
        close(ours, leaf.grad, factor=factor, absolute=absolute)


def test_values_are_a_view(monkeypatch):
    set_backend(monkeypatch, "auto")
    qkv, weight = torch.randn(2, 3, 6 * 8, requires_grad=True), torch.ones(8)
    *_, v = qk_norm_rope(qkv, weight, weight, 1e-6, None, 2)
    assert v.shape == (2, 3, 2, 8)
    assert v.untyped_storage().data_ptr() == qkv.untyped_storage().data_ptr()
