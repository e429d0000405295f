"""Cross entropy against torch in fp64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steel_megatron.ops.cross_entropy import cross_entropy


@settings(max_examples=30)
@given(
    tokens=st.integers(0, 70),
    vocabulary=st.integers(1, 300),
    padding=st.integers(0, 40),
    overwrite=st.booleans(),
    z_loss=st.sampled_from([0.0, 1e-4, 0.1]),
)
def test_loss_and_gradient(tokens, vocabulary, padding, overwrite, z_loss):
    generator = torch.Generator().manual_seed(tokens)
    logits = 3 * torch.randn(tokens, vocabulary + padding, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, vocabulary, (tokens,), generator=generator)
    weights = torch.randn(tokens, generator=generator, dtype=torch.float64)
    exact = logits[:, :vocabulary].clone().requires_grad_()
    expected = torch.nn.functional.cross_entropy(exact, labels, reduction="none")
    expected = expected + z_loss * exact.logsumexp(1).square()
    (expected * weights).sum().backward()
    leaf = logits.float().requires_grad_()
    losses = cross_entropy(leaf * 1.0, labels, vocab_size=vocabulary, overwrite_logits=overwrite, z_loss=z_loss)
    (losses * weights.float()).sum().backward()
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(leaf.grad[:, :vocabulary].double(), exact.grad, rtol=1e-3, atol=1e-5)
    assert (leaf.grad[:, vocabulary:] == 0).all()


def test_bf16_logits_give_fp32_losses():
    logits = 5 * torch.randn(64, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(64)
    exact = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, labels).double(), exact, rtol=1e-5, atol=1e-5)


def test_overwritten_logits_cannot_be_used_twice():
    leaf = torch.randn(4, 8, requires_grad=True)
    losses = cross_entropy(leaf * 1.0, torch.arange(4), overwrite_logits=True).sum()
    losses.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        losses.backward()
