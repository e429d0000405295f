"""Which activations are dropped in the forward pass and computed again in the backward pass (Chen et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from steel_megatron.config import TrainingConfig

T = TypeVar("T")
CHEAP = ("layernorm", "mlp_act")


@dataclass(frozen=True)
class Recompute:
    """``granularity`` none, selective (some ``modules`` of each block) or full (whole blocks).

    Modules: ``core_attn`` (what lies between the attention's projections), ``layernorm`` (the outputs of the norms),
    ``mlp_act`` (the output of the activation). The last two are kept for a weight's gradient alone, and are computed
    again from what is kept anyway.

    Full by ``method``: ``uniform`` keeps the input of every group of ``layers`` blocks (1 when None); ``block``
    recomputes the first ``layers`` blocks of the stage (all when None) one by one and keeps the others' activations.
    """

    granularity: str = "none"
    method: str = "uniform"
    layers: int | None = None
    modules: tuple[str, ...] = CHEAP

    @classmethod
    def of(cls, training: TrainingConfig) -> Recompute:
        return cls(
            training.recompute_granularity,
            training.recompute_method,
            training.recompute_num_layers,
            tuple(training.recompute_modules),
        )

    def _selects(self, module: str) -> bool:
        return self.granularity == "selective" and module in self.modules

    @property
    def attention(self) -> bool:
        return self._selects("core_attn")

    @property
    def norms(self) -> bool:
        return self._selects("layernorm")

    @property
    def activation(self) -> bool:
        return self._selects("mlp_act")

    def groups(self, blocks: Sequence[T]) -> Iterator[tuple[Sequence[T], bool]]:
        """The blocks in groups that run together, and whether a group is computed again."""
        if self.granularity != "full":
            yield blocks, False
            return
        size = (self.layers or 1) if self.method == "uniform" else 1
        again = len(blocks) if self.method == "uniform" or self.layers is None else min(self.layers, len(blocks))
        for start in range(0, again, size):
            yield blocks[start : min(start + size, again)], True
        if again < len(blocks):
            yield blocks[again:], False
