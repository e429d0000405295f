"""Token and position embedding, and the head.

Shapes: B batch, S sequence, H hidden, V this rank's rows of the padded vocabulary.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from steel_megatron.config import ModelConfig
from steel_megatron.ops.dropout import EMBEDDING, DropoutKey, dropout
from steel_megatron.parallel.collectives import own_tokens
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import DATA, Init, ParamSpec, Piece, attach_spec
from steel_megatron.parallel.tensor.layers import ColumnParallelLinear, Out
from steel_megatron.parallel.tensor.products import column_linear
from steel_megatron.parallel.tensor.regions import first_token, whole_length
from steel_megatron.parallel.tensor.vocab import VocabParallelEmbedding, lookup

TIED = "embedding"  # name of the tied group of embedding and head


class Embedding(nn.Module):
    """Tokens, learned positions where the model has them, and dropout."""

    def __init__(
        self, config: ModelConfig, grid: Grid, *, dtype: torch.dtype, device: torch.device | str | None
    ) -> None:
        super().__init__()
        self.grid = grid
        self.dropout_rate = config.hidden_dropout
        self.tokens = token_table(config, grid, dtype=dtype, device=device)
        self.positions: PositionEmbedding | None = None
        if config.position_embedding_type == "learned_absolute":
            self.positions = PositionEmbedding(config, grid, dtype=dtype, device=device)

    def forward(self, tokens_BS: Tensor, positions: Tensor | None, key: DropoutKey | None) -> Tensor:
        """Token ids → (B, S, H), or (B, S/R, H) under sequence parallel. ``positions``: (1 or B, S), None: from 0."""
        x_BSH = self.tokens(tokens_BS)
        if self.positions is not None:
            if positions is None:
                positions = _counted(tokens_BS.shape[1], tokens_BS.device)
            if self.grid.sequence_parallel:
                positions = own_tokens(positions.expand_as(tokens_BS).unsqueeze(-1), self.grid.tp).squeeze(-1)
            x_BSH = x_BSH + self.positions(positions)
        place = {"first_token": first_token(x_BSH, self.grid), "length": whole_length(x_BSH, self.grid)}
        return dropout(x_BSH, self.dropout_rate, key, 0, EMBEDDING, **place)


def token_table(
    config: ModelConfig, grid: Grid, *, dtype: torch.dtype, device: torch.device | str | None
) -> VocabParallelEmbedding:
    """The token embedding's layer, also as a tied head's copy."""
    assert config.vocab_size is not None, "vocab_size is set before the model is built"
    return VocabParallelEmbedding(
        config.vocab_size,
        config.padded_vocab_size(grid.tp.size),
        config.hidden_size,
        name="embedding",
        grid=grid,
        dtype=dtype,
        device=device,
        init=Init(std=config.init_method_std),
        tied=TIED if config.tied else None,
    )


class PositionEmbedding(nn.Module):
    """A learned vector per position (GPT-2)."""

    def __init__(
        self, config: ModelConfig, grid: Grid, *, dtype: torch.dtype, device: torch.device | str | None
    ) -> None:
        super().__init__()
        shape = (config.max_position_embeddings, config.hidden_size)
        piece = Piece("position_embedding.weight", shape, shape, (0, 0), Init(std=config.init_method_std))
        axes = (*DATA, "tp") if grid.sequence_parallel else DATA
        spec = ParamSpec((piece,), decay=True, summed_over=axes, kind="embedding")
        self.weight = attach_spec(nn.Parameter(torch.empty(shape, dtype=dtype, device=device)), spec)

    def forward(self, positions: Tensor) -> Tensor:
        """int64 (…) → (…, H)."""
        return lookup(positions, self.weight)


@functools.lru_cache(maxsize=16)
def _counted(length: int, device: torch.device) -> Tensor:
    """Positions from 0, (1, S)."""
    with torch.inference_mode(False):
        return torch.arange(length, device=device).unsqueeze(0)


class Head(nn.Module):
    """Logits: a matrix of its own, or the embedding's when tied.

    On a pipeline stage without the embedding a tied head has a copy of it under the same name: it starts equal, and
    gets the sum of both gradients.
    """

    def __init__(
        self,
        config: ModelConfig,
        grid: Grid,
        *,
        embedding: Embedding | None,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.own: ColumnParallelLinear | None = None
        if not config.tied:
            out = Out(
                "head",
                config.padded_vocab_size(grid.tp.size),
                init=Init(std=config.init_method_std),
                rows=config.vocab_size,
            )
            self.own = ColumnParallelLinear(
                config.hidden_size, [out], bias=False, grid=grid, dtype=dtype, device=device
            )
        elif embedding is not None:
            self.tied = embedding.tokens  # a submodule, so that its weight is waited for before forward
        else:
            self.tied = token_table(config, grid, dtype=dtype, device=device)  # this pipeline stage's copy

    @property
    def weight(self) -> Tensor:
        """(V, H), the parameter itself."""
        return self.tied.weight if self.own is None else self.own.weight

    def forward(self, x_BSH: Tensor) -> Tensor:
        """(B, S, H) → (B, S, V); columns of the vocabulary's padding are there and are nobody's."""
        if self.own is not None:
            return self.own(x_BSH)
        return column_linear(x_BSH, self.tied.weight, None, self.grid)
