"""Keys and values of the tokens seen so far.

Shapes: B batch, S new positions, P positions so far, K key/value heads of this rank, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.config import ModelConfig
from steel_megatron.parallel.grid import Grid


class KVCache:
    """Room for ``capacity`` positions of ``batch`` rows; layers write into it, :class:`GPT` moves ``length`` on.

    Args:
        padding_B: how many positions at the left of each row are padding, for prompts of different lengths.
    """

    def __init__(
        self,
        config: ModelConfig,
        grid: Grid,
        *,
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        padding_B: Tensor | None = None,
    ) -> None:
        heads = max(config.query_groups // grid.tp.size, 1)
        shape = (config.num_layers, batch, capacity, heads, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=grid.device)
        self.values = torch.zeros(shape, dtype=dtype, device=grid.device)
        self.capacity = capacity
        self.padding_B = padding_B
        self.length = 0

    def extend(self, layer: int, k_BSKD: Tensor, v_BSKD: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the new positions of a layer and returns its keys and values so far, (B, P, K, D)."""
        end = self.length + k_BSKD.shape[1]
        if end > self.capacity:
            raise ValueError(f"{end} positions in a cache of {self.capacity}")
        self.keys[layer, :, self.length : end] = k_BSKD
        self.values[layer, :, self.length : end] = v_BSKD
        return self.keys[layer, :, :end], self.values[layer, :, :end]

    def positions(self, count: int) -> Tensor:
        """Positions of the next ``count`` tokens, (1 or B, count); padding does not count."""
        positions = torch.arange(self.length, self.length + count, device=self.keys.device).unsqueeze(0)
        if self.padding_B is None:
            return positions
        return (positions - self.padding_B.unsqueeze(1)).clamp_min(0)
