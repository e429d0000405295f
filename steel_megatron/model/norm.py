"""Normalisation layers with their specs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steel_megatron.config import ModelConfig
from steel_megatron.model.pieces import Pieces
from steel_megatron.ops.norm import add_layer_norm, add_rms_norm, layer_norm_beside, rms_norm_beside
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import DATA, Init, ParamSpec, Piece, attach_spec


class Norm(nn.Module):
    """RMSNorm or LayerNorm over the last dimension, as the configuration says.

    Every tensor-parallel rank holds the whole layer. ``partial``: each rank feeds it a part of the data (a slice of the
    sequence, its own heads), so its gradients are summed over tensor parallel.
    """

    def __init__(
        self,
        size: int,
        config: ModelConfig,
        *,
        name: str,
        grid: Grid,
        partial: bool,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        super().__init__()
        self.epsilon = config.norm_epsilon
        self.pieces: Pieces | None = None
        self.bias: nn.Parameter | None = None

        def parameter(kind: str, init: Init) -> nn.Parameter:
            piece = Piece(f"{name}.{kind}", (size,), (size,), (0,), init)
            spec = ParamSpec((piece,), decay=False, summed_over=(*DATA, "tp") if partial else DATA)
            return attach_spec(nn.Parameter(torch.empty(size, dtype=dtype, device=device)), spec)

        self.weight = parameter("weight", Init("ones"))
        self.layer_norm = config.normalization == "LayerNorm"
        if self.layer_norm:
            self.bias = parameter("bias", Init("zeros"))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(…, size) → (normed, what was normed): the same shape and type. A residual is added to x first."""
        if self.pieces is not None:
            return self.pieces.norm(x, residual, self.weight, self.bias, self.epsilon)
        if self.layer_norm:
            if residual is not None:
                return add_layer_norm(x, residual, self.weight, self.bias, self.epsilon)
            return layer_norm_beside(x, self.weight, self.bias, self.epsilon)
        if residual is not None:
            return add_rms_norm(x, residual, self.weight, self.epsilon)
        return rms_norm_beside(x, self.weight, self.epsilon)

    def after(self, x: Tensor, branch: Tensor | None) -> tuple[Tensor, Tensor]:
        """(normed, the residual stream x with its branch added, if there is one)."""
        return self(x) if branch is None else self(branch, x)
