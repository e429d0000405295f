"""Attention to a window of the past against the formula written out, for every way to it on a CPU."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steel_megatron.ops import attention as module
from steel_megatron.ops import backends, cpu_products, windowed
from steel_megatron.ops.attention import AttentionDropout, Packing, attention, cached_attention
from steel_megatron.ops.dropout import DropoutKey


def reference(q, k, v, window, documents=None):
    """In fp64 with a mask of everything."""
    length = k.shape[1]
    distance = torch.arange(length).unsqueeze(1) - torch.arange(length)
    allowed = (distance >= 0) & (distance < window)
    if documents is not None:
        allowed &= documents == documents.unsqueeze(1)
    allowed = allowed[length - q.shape[1] :]
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).masked_fill(~allowed, -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


def heads(batch, length, dtype=torch.float32):
    generator = torch.Generator().manual_seed(length)
    return [torch.randn(batch, length, n, 8, generator=generator).to(dtype).requires_grad_() for n in (4, 2, 2)]


def agree(ours, theirs, inputs, rtol=1e-3, atol=1e-4):
    torch.testing.assert_close(ours.double(), theirs, rtol=rtol, atol=atol)
    gradients = [torch.autograd.grad(y.square().sum(), inputs) for y in (ours, theirs)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=10 * atol)


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 2), length=st.integers(1, 200), window=st.integers(1, 210))
def test_whole_sequences(batch, length, window):
    """Shorter and longer than a strip, and windows that hide nothing."""
    inputs = heads(batch, length)
    agree(attention(*inputs, window=window), reference(*inputs, window), inputs)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4), window=st.integers(1, 40))
def test_documents(lengths, window):
    inputs = heads(1, sum(lengths))
    documents = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    packing = Packing.from_lengths(lengths, "cpu")
    agree(attention(*inputs, packing, window=window), reference(*inputs, window, documents), inputs)


@settings(max_examples=25, deadline=None)
@given(past=st.integers(0, 20), new=st.integers(1, 20), window=st.integers(1, 24))
def test_new_tokens_on_a_cache(past, new, window):
    q, k, v = heads(2, past + new)
    for padding in (None, torch.zeros(2, dtype=torch.int64)):
        ours = cached_attention(q[:, past:], k, v, padding, window)
        torch.testing.assert_close(ours.double(), reference(q[:, past:], k, v, window), rtol=1e-4, atol=1e-5)


def test_in_16_bits(monkeypatch):
    for products in ("torch", "fp32"):
        monkeypatch.setenv(cpu_products.VARIABLE, products)
        inputs = heads(2, 100, torch.bfloat16)
        y, expected = attention(*inputs, window=7), reference(*inputs, 7)
        assert y.dtype == torch.bfloat16
        assert (y - expected).norm() < 0.01 * expected.norm()


def test_dropped_probabilities_are_those_of_the_window():
    """A window that hides nothing drops the same; a shorter one is right on the mean over keys."""
    q, k, v = heads(1, 12)
    packing = Packing.from_lengths([12], "cpu")

    def drawn(seed, window):
        return attention(q, k, v, packing, AttentionDropout(0.3, DropoutKey(seed, torch.tensor([0])), 0), window)

    assert torch.equal(drawn(1, 12), drawn(1, None))
    mean = torch.stack([drawn(seed, 3) for seed in range(400)]).mean(0)
    torch.testing.assert_close(mean, attention(q, k, v, window=3), rtol=0, atol=0.35)


@pytest.mark.parametrize("knows", [True, False])
def test_a_torch_whose_kernel_has_no_window_goes_by_strips(monkeypatch, knows):
    """And one whose kernel has it gets what flash-attn means by a window: the tokens beside the query."""
    given_windows, strips = [], []

    def varlen(q, k, v, packing, window=None):
        given_windows.append((module._varlen_arguments(window)[0], packing.lengths))
        return torch.zeros_like(q)

    monkeypatch.setattr(module, "pick", lambda *given: "varlen")
    monkeypatch.setitem(module._PACKED, "varlen", varlen)
    monkeypatch.setattr(module, "_varlen_parameters", lambda: frozenset({"window_size"} if knows else {"is_causal"}))
    monkeypatch.setattr(windowed, "_attend", lambda q, *rest: strips.append(q) or q)
    attention(*heads(2, 10), window=4)
    assert given_windows == ([({"window_size": (3, 0)}, (10, 10))] if knows else [])
    assert bool(strips) != knows


def test_time_and_memory_grow_with_the_window_and_not_with_the_square(monkeypatch):
    """No mask is larger than a strip of the window's length by the keys that it sees."""
    seen, masks = windowed.seen, []
    monkeypatch.setattr(windowed, "seen", lambda *given: masks.append(seen(*given)) or masks[-1])
    attention(*heads(1, 1000), window=64)
    assert sum(mask.numel() for mask in masks) <= 1000 * 2 * 64


def test_a_backend_without_a_window_is_named_with_the_reason():
    assert backends.choice("window_attention", "cpu").implementation == "sdpa"
