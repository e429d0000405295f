"""The MLP of a block.

Shapes: B batch, S sequence, H hidden, F this rank's inner channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steel_megatron.config import ModelConfig
from steel_megatron.model.attention.layer import output_init
from steel_megatron.model.made_again import made_again
from steel_megatron.model.pieces import Pieces
from steel_megatron.ops.activation import activation_of
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import Init
from steel_megatron.parallel.tensor.layers import ColumnParallelLinear, Out, RowParallelLinear


class MLP(nn.Module):
    """Up (and gate) projection, activation, down projection. ``recompute``: do not keep the activation's output."""

    def __init__(
        self,
        config: ModelConfig,
        layer: int,
        grid: Grid,
        *,
        dtype: torch.dtype,
        device: torch.device | str | None,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.activation = activation_of(config.activation)
        self.pieces: Pieces | None = None
        self.recompute = recompute
        stem = f"blocks.{layer}.mlp"
        names = ("gate", "up") if config.gated else ("up",)
        outs = [Out(f"{stem}.{what}", config.ffn_hidden_size, init=Init(std=config.init_method_std)) for what in names]
        bias = config.add_bias_linear
        self.up = ColumnParallelLinear(config.hidden_size, outs, bias=bias, grid=grid, dtype=dtype, device=device)
        self.down = RowParallelLinear(
            config.ffn_hidden_size,
            config.hidden_size,
            name=f"{stem}.down",
            bias=bias,
            grid=grid,
            dtype=dtype,
            device=device,
            init=output_init(config),
        )

    def forward(self, x_BSH: Tensor) -> Tensor:
        """(B, S, H) → (B, S, H), not yet added to the residual stream."""
        up = self.up(x_BSH)
        inner_BSF = self._activate(up)
        if not (self.recompute and torch.is_grad_enabled()):
            return self.down(inner_BSF)
        kept = up.detach()
        with made_again(inner_BSF, lambda: self._activate(kept)):
            return self.down(inner_BSF)

    def _activate(self, up: Tensor) -> Tensor:
        if self.pieces is not None:
            return self.pieces.activate(up, self.activation)
        return self.activation(up)
