"""Keys and values of the tokens seen so far.

Shapes: B batch, S new positions, P positions that the new ones see, K key/value heads of this rank, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.config import ModelConfig
from steel_megatron.model.attention.kinds import attention_of
from steel_megatron.parallel.grid import Grid


class KVCache:
    """Room for ``capacity`` positions of ``batch`` rows; layers write into it, :class:`GPT` moves ``length`` on.

    A layer that looks through a window keeps no more than the next token will see of it.

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
        self.kept = [attention_of(config, i).cached_positions(config, capacity) for i in range(config.num_layers)]
        self.keys, self.values = (
            [torch.zeros(batch, kept, heads, config.head_dim, dtype=dtype, device=grid.device) for kept in self.kept]
            for _ in range(2)
        )
        self.device = grid.device
        self.capacity = capacity
        self.padding_B = padding_B
        self.length = 0

    def extend(self, layer: int, k_BSKD: Tensor, v_BSKD: Tensor) -> tuple[Tensor, Tensor]:
        """Takes the new positions of a layer and returns the keys and values that they see, (B, P, K, D)."""
        end = self.length + k_BSKD.shape[1]
        if end > self.capacity:
            raise ValueError(f"{end} positions in a cache of {self.capacity}")
        if self.kept[layer] == self.capacity:
            self.keys[layer][:, self.length : end] = k_BSKD
            self.values[layer][:, self.length : end] = v_BSKD
            return self.keys[layer][:, :end], self.values[layer][:, :end]
        return self._slide(self.keys[layer], k_BSKD), self._slide(self.values[layer], v_BSKD)

    def _slide(self, kept_BWKD: Tensor, new_BSKD: Tensor) -> Tensor:
        """(old, new), of which the last stay: at the beginning of the room, in order."""
        room = kept_BWKD.shape[1]
        both = torch.cat([kept_BWKD[:, : min(self.length, room)], new_BSKD], dim=1)
        stay = min(both.shape[1], room)
        kept_BWKD[:, :stay] = both[:, both.shape[1] - stay :]
        return both

    def padding_of(self, seen: int, new: int) -> Tensor | None:
        """How many of the ``seen`` positions of a layer are padding, in a step of ``new`` ones."""
        return None if self.padding_B is None else self.padding_B - (self.length + new - seen)

    def positions(self, count: int) -> Tensor:
        """Positions of the next ``count`` tokens, (1 or B, count); padding does not count."""
        positions = torch.arange(self.length, self.length + count, device=self.device).unsqueeze(0)
        if self.padding_B is None:
            return positions
        return (positions - self.padding_B.unsqueeze(1)).clamp_min(0)
