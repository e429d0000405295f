"""Embedding and cross entropy over a vocabulary of which each tp rank holds a range.

Shapes: B batch, S sequence, T tokens, H hidden, V vocabulary (padded), R tp ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from steel_megatron.parallel.collectives import split_evenly
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import Init, ParamSpec, Piece, attach_spec
from steel_megatron.parallel.tensor.regions import leave_region
from steel_megatron.parallel.tensor.weight_grad import await_parameter, embedding_weight_gradient


class VocabParallelEmbedding(nn.Module):
    """Rank r holds rows [r V/R, (r+1) V/R) of the table.

        forward   y = Σ_r (rows of its ids, 0 for the others)      all-reduce, or reduce-scatter along the sequence
        backward  dW_r[id] += dy for its ids                       dy whole on every rank

    Saved: the ids. At R = 1 it is a plain lookup.
    """

    def __init__(
        self,
        vocab_size: int,
        padded_vocab_size: int,
        hidden_size: int,
        *,
        name: str,
        grid: Grid,
        dtype: torch.dtype,
        device: torch.device | str | None = None,
        init: Init = Init(),  # noqa: B008 - frozen
        tied: str | None = None,
    ) -> None:
        """``name`` is a stem, as in :class:`~steel_megatron.parallel.tensor.layers.Out`."""
        super().__init__()
        self.grid = grid
        own = split_evenly(padded_vocab_size, grid.tp)
        self.first = grid.tp.rank * own
        weight = nn.Parameter(torch.empty(own, hidden_size, dtype=dtype, device=device))
        piece = Piece(
            f"{name}.weight",
            (own, hidden_size),
            (padded_vocab_size, hidden_size),
            (self.first, 0),
            init,
            rows=vocab_size,
        )
        self.weight = attach_spec(weight, ParamSpec((piece,), decay=True, tied=tied, kind="embedding"))

    def forward(self, tokens_BS: Tensor) -> Tensor:
        """Token ids → (B, S, H), or (B, S/R, H) under sequence parallel."""
        await_parameter(self.weight)
        if self.grid.tp.size == 1:
            return lookup(tokens_BS, self.weight)
        return leave_region(lookup(tokens_BS - self.first, self.weight, partial=True), self.grid)


def lookup(ids: Tensor, weight: Tensor, partial: bool = False) -> Tensor:
    """Rows of ``weight`` (V, H) by ids (…); the gradient is added to the looked-up rows of the buffer only.

    Args:
        partial: ids outside [0, V) are other ranks' and get zeros.
    """
    return _Lookup.apply(ids, weight, partial)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, partial: bool) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.weight = weight
        if not partial:
            return F.embedding(ids, weight)
        others = (ids < 0) | (ids >= len(weight))
        return F.embedding(ids.masked_fill(others, 0), weight).masked_fill_(others.unsqueeze(-1), 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor | None, None]:
        (ids,), dy = ctx.saved_tensors, grads[0]
        return None, embedding_weight_gradient(ctx.weight, dy.reshape(-1, dy.shape[-1]), ids.reshape(-1)), None
