"""Attention against the formula written out in fp64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steel_megatron.config import ConfigError
from steel_megatron.ops import backends
from steel_megatron.ops.attention import AttentionDropout, Packing, _sample_starts, attention, cached_attention
from steel_megatron.ops.dropout import DropoutKey


def reference(q, k, v, allowed):
    """softmax(q kᵀ / √D) v in fp64 with a boolean mask (S, P)."""
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).masked_fill(~allowed, -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


def random_heads(batch, length, heads, groups, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, length, n, size, generator=generator) for n in (heads, groups, groups)]


@settings(max_examples=25)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 40),
    groups=st.integers(1, 3),
    repeat=st.integers(1, 4),
    size=st.sampled_from([4, 8, 24]),
)
def test_causal(batch, length, groups, repeat, size):
    q, k, v = random_heads(batch, length, groups * repeat, groups, size)
    past = torch.ones(length, length, dtype=torch.bool).tril()
    torch.testing.assert_close(attention(q, k, v).double(), reference(q, k, v, past), rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), groups=st.sampled_from([1, 2, 4]))
def test_packed(lengths, groups):
    total = sum(lengths)
    q, k, v = (x.requires_grad_() for x in random_heads(1, total, 4, groups, 8))
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    allowed = torch.ones(total, total, dtype=torch.bool).tril() & (document == document.unsqueeze(1))
    packing = Packing.from_lengths(lengths, "cpu")
    assert packing.cu_seqlens.tolist() == [0, *torch.tensor(lengths).cumsum(0).tolist()]
    ours, theirs = attention(q, k, v, packing), reference(q, k, v, allowed)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (ours, theirs)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@settings(max_examples=25)
@given(past=st.integers(0, 7), new=st.integers(1, 7), padding=st.lists(st.integers(0, 3), min_size=2, max_size=2))
def test_cached_with_padding(past, new, padding):
    total = past + new
    q, k, v = random_heads(2, total, 4, 2, 8)
    padding_B = torch.tensor([min(p, max(past, 0)) for p in padding])
    ours = cached_attention(q[:, past:], k, v, padding_B)
    for row in range(2):
        skip = int(padding_B[row])
        allowed = torch.ones(total, total, dtype=torch.bool).tril()
        allowed[:, :skip] = False
        one = slice(row, row + 1)
        theirs = reference(q[one, past:], k[one], v[one], allowed[past:])
        torch.testing.assert_close(ours[one].double(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [None, [6, 10, 16]])
def test_dropout_keeps_the_expected_share_and_value(lengths):
    q, k, v = random_heads(2, 16, 4, 2, 8)
    packing = None if lengths is None else Packing.from_lengths(lengths, "cpu")
    outputs = torch.stack(
        [attention(q, k, v, packing, AttentionDropout(0.3, DropoutKey(s, torch.tensor([0, 1])), 0)) for s in range(400)]
    )
    torch.testing.assert_close(outputs.mean(0), attention(q, k, v, packing), rtol=0, atol=0.35)
    assert outputs.std(0).mean() > 0.05


def test_dropout_of_some_heads_is_a_part_of_that_of_all():
    """Tensor parallel: a rank with the heads 2 and 3 drops what a single rank drops there."""
    q, k, v = random_heads(2, 16, 4, 4, 8)
    key = DropoutKey(5, torch.tensor([8, 3]))
    whole = attention(q, k, v, None, AttentionDropout(0.3, key, 1))
    part = attention(q[:, :, 2:], k[:, :, 2:], v[:, :, 2:], None, AttentionDropout(0.3, key, 1, first_head=2))
    torch.testing.assert_close(part, whole[:, :, 2:])


@pytest.mark.parametrize("requested", ["flash", "sdpa", "unfused", "local"])
@pytest.mark.parametrize("lengths", [None, [3, 13, 16]])
def test_every_kernel_of_torch_that_runs_here_agrees(monkeypatch, requested, lengths):
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    packing = None if lengths is None else Packing.from_lengths(lengths, "cpu")
    heads = [x.requires_grad_() for x in random_heads(2, 16, 4, 2, 8)]
    usual = attention(*heads, packing)
    backends.use_attention_backend(requested, "cpu")
    chosen = attention(*heads, packing)
    torch.testing.assert_close(chosen, usual)
    gradients = [torch.autograd.grad(y.square().sum(), heads) for y in (chosen, usual)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_kernels_for_gpus_are_refused_on_a_cpu():
    for name in ("flash2", "flash3", "cudnn", "fused"):
        with pytest.raises(ConfigError, match="needs a GPU"):
            backends.use_attention_backend(name, "cpu")


def test_what_generation_asked_for_first_serves_training() -> None:
    _sample_starts.cache_clear()
    with torch.inference_mode():
        _sample_starts(2, 5)
    assert not _sample_starts(2, 5).is_inference()
