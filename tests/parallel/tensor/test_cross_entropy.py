"""Vocab-parallel cross entropy against torch's over the gathered logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from helpers.processes import run_processes
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.cross_entropy import vocab_parallel_cross_entropy

TOKENS = 37


def compare() -> None:
    """Losses and gradients for vocabularies that end inside, at the border of, and before the last rank's range."""
    grid = Grid.create(ParallelConfig(tensor_model_parallel_size=torch.distributed.get_world_size()))
    for columns, vocab_size, dtype, overwrite, z_loss in [
        (40, 151, torch.float32, False, 0.0),
        (40, 80, torch.float32, True, 1e-3),
        (40, 41, torch.float32, False, 1e-3),
        (40, 151, torch.bfloat16, True, 1e-3),
        (9000, 16_001, torch.float32, False, 0.0),
    ]:
        generator = torch.Generator().manual_seed(vocab_size)
        padded = columns * grid.tp.size
        vocab_size = min(vocab_size, padded)
        whole = (torch.randn(TOKENS, padded, generator=generator) * 8).to(dtype)
        whole[:, vocab_size:] = 1e4  # padding would rule the softmax if it were let in
        labels = torch.randint(0, vocab_size, (TOKENS,), generator=generator)
        weights = torch.rand(TOKENS, generator=generator)
        real = whole[:, :vocab_size].float().requires_grad_()
        expected = F.cross_entropy(real, labels, reduction="none")
        expected_z = z_loss * real.logsumexp(1).square()
        (expected_grad,) = torch.autograd.grad(expected + expected_z, real, weights)
        own = slice(grid.tp.rank * columns, (grid.tp.rank + 1) * columns)
        logits = whole[:, own].clone().requires_grad_()
        losses, z_losses = vocab_parallel_cross_entropy(
            logits * 1.0, labels, grid, vocab_size=vocab_size, overwrite_logits=overwrite, z_loss=z_loss
        )
        (losses + z_losses).backward(weights)
        torch.testing.assert_close(z_losses, expected_z.detach(), rtol=1e-5, atol=1e-5)
        assert losses.dtype == torch.float32
        torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-5)
        padded_grad = torch.zeros(TOKENS, padded)
        padded_grad[:, :vocab_size] = expected_grad
        assert logits.grad is not None
        tolerance = 5e-6 if dtype == torch.float32 else 4e-3
        torch.testing.assert_close(logits.grad.float(), padded_grad[:, own], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_equals_torch_over_gathered_logits(tp):
    run_processes(compare, tp)
