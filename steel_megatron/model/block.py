"""One transformer block: attention and MLP, each normalised before and added to the residual stream.

Shapes: B batch, S sequence (S/R under sequence parallel), H hidden.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from steel_megatron.config import ModelConfig
from steel_megatron.model.attention.kinds import attention_of
from steel_megatron.model.attention.layer import Attention
from steel_megatron.model.context import Context
from steel_megatron.model.ffn.kinds import feed_forward_of
from steel_megatron.model.ffn.mlp import MLP
from steel_megatron.model.made_again import made_again
from steel_megatron.model.norm import Norm
from steel_megatron.model.pieces import Pieces
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops.dropout import ATTENTION_OUTPUT, MLP_OUTPUT, dropout
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.regions import first_token, whole_length


class Block(nn.Module):
    """Pre-norm block; ``layer`` is its number in the whole model, which says its kinds of attention and MLP."""

    def __init__(
        self,
        config: ModelConfig,
        layer: int,
        grid: Grid,
        *,
        dtype: torch.dtype,
        device: torch.device | str | None,
        recompute: Recompute,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.grid = grid
        self.recompute = recompute
        self.dropout_rate = config.hidden_dropout

        def norm(name: str) -> Norm:
            return Norm(
                config.hidden_size,
                config,
                name=f"blocks.{layer}.{name}",
                grid=grid,
                partial=grid.sequence_parallel,
                dtype=dtype,
                device=device,
            )

        self.attention_norm = norm("attention_norm")
        place = {"grid": grid, "dtype": dtype, "device": device}
        self.attention = attention_of(config, layer).build(config, layer, recompute=recompute.attention, **place)
        self.mlp_norm = norm("mlp_norm")
        self.mlp = feed_forward_of(config, layer).build(config, layer, recompute=recompute.activation, **place)

    def forward(self, x_BSH: Tensor, branch_BSH: Tensor | None, context: Context) -> tuple[Tensor, Tensor]:
        """The residual stream and what is to be added to it, both (B, S, H), None: nothing → the same after this block.

        The next norm adds it in the same pass over memory; :func:`run_blocks` is for whole groups.
        """
        normed_BSH, x_BSH = self.attention_norm.after(x_BSH, branch_BSH)
        with self._normed_again(self.attention_norm, normed_BSH, x_BSH):
            attended_BSH = self.attention(normed_BSH, context)
        normed_BSH, x_BSH = self.mlp_norm.after(x_BSH, self._drop(attended_BSH, context, ATTENTION_OUTPUT))
        with self._normed_again(self.mlp_norm, normed_BSH, x_BSH):
            y_BSH = self.mlp(normed_BSH)
        return x_BSH, self._drop(y_BSH, context, MLP_OUTPUT)

    def _normed_again(self, norm: Norm, normed_BSH: Tensor, x_BSH: Tensor) -> AbstractContextManager[None]:
        """What the projections save of their input is made again from the norm's input, which the norm keeps."""
        if not (self.recompute.norms and torch.is_grad_enabled()):
            return nullcontext()
        kept_BSH = x_BSH.detach()
        return made_again(normed_BSH, lambda: norm(kept_BSH)[0])

    def _drop(self, x_BSH: Tensor, context: Context, site: int) -> Tensor:
        place = {"first_token": first_token(x_BSH, self.grid), "length": whole_length(x_BSH, self.grid)}
        return dropout(x_BSH, self.dropout_rate, context.dropout, self.layer, site, **place)


def run_blocks(blocks: Iterable[nn.Module], x_BSH: Tensor, context: Context) -> tuple[Tensor, Tensor | None]:
    """The residual stream through some blocks, and what is still to be added to it (None if there are no blocks)."""
    branch_BSH: Tensor | None = None
    with context.region():
        for block in blocks:
            x_BSH, branch_BSH = block(x_BSH, branch_BSH, context)
    return x_BSH, branch_BSH


def through_blocks(blocks: Iterable[nn.Module], x_BSH: Tensor, context: Context) -> Tensor:
    """:func:`run_blocks` with the last addition done."""
    return joined(*run_blocks(blocks, x_BSH, context))


def joined(x_BSH: Tensor, branch_BSH: Tensor | None) -> Tensor:
    """The residual stream with nothing left to add."""
    return x_BSH if branch_BSH is None else x_BSH + branch_BSH


def use_pieces(blocks: Iterable[nn.Module], pieces: Pieces) -> None:
    """Norms, heads and activations in the modules are computed by these compiled functions from now on."""
    for module in (module for block in blocks for module in block.modules()):
        if isinstance(module, (Norm, Attention, MLP)):
            module.pieces = pieces
