"""Parameters of a model by module, as its layers tell them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from steel_megatron.config import ModelConfig
from steel_megatron.model.block_cost import block_parameters
from steel_megatron.model.ends_cost import ends_parameters


@dataclass(frozen=True)
class Parameters:
    """Elements by module, without the vocabulary's padding; a tied head counts once, as embedding."""

    embedding: int
    attention: int
    mlp: int
    norms: int
    head: int
    padding: int  # rows of the vocabulary that are there for the layout only

    @property
    def total(self) -> int:
        return self.embedding + self.attention + self.mlp + self.norms + self.head

    @property
    def without_embedding(self) -> int:
        """What Kaplan's and Chinchilla's N counts: no embedding, no head of its own."""
        return self.total - self.embedding - self.head


def count_parameters(config: ModelConfig) -> Parameters:
    """The sum over layers and ends; tests compare it with the model that is built."""
    found: Counter[str] = sum((block_parameters(config, layer) for layer in range(config.num_layers)), Counter())
    found += ends_parameters(config)
    return Parameters(**{name: found[name] for name in ("embedding", "attention", "mlp", "norms", "head", "padding")})
