"""Lookups in a range of the vocabulary: rows of one's own, zeros for other ranks' ids, gradients of the own rows."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import spec_of
from steel_megatron.parallel.tensor.vocab import VocabParallelEmbedding, lookup

IDS = torch.tensor([[0, 5, 3], [5, 9, 0]])


@pytest.mark.parametrize("split", [1, 5, 9])
def test_ranges_add_up_to_the_whole_table(split):
    table = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    parts = lookup(IDS, table[:split], partial=True) + lookup(IDS - split, table[split:], partial=True)
    assert torch.equal(parts, F.embedding(IDS, table))


def test_gradients_are_torchs():
    embedding = VocabParallelEmbedding(9, 10, 4, name="embedding", grid=Grid.single(), dtype=torch.float64)
    weight = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    embedding.weight.data.copy_(weight)
    theirs = weight.requires_grad_()
    dy = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    embedding(IDS).backward(dy)
    F.embedding(IDS, theirs).backward(dy)
    torch.testing.assert_close(embedding.weight.grad, theirs.grad)


def test_the_last_rows_are_padding():
    embedding = VocabParallelEmbedding(9, 16, 4, name="embedding", grid=Grid.single(), dtype=torch.float32, tied="v")
    (piece,) = spec_of(embedding.weight).pieces
    assert (piece.name, piece.shape, piece.rows) == ("embedding.weight", (16, 4), 9)
    assert (spec_of(embedding.weight).kind, spec_of(embedding.weight).tied) == ("embedding", "v")
