"""Parameters of a model by module, counted from the code that builds it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steel_megatron.config import ModelConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import parameters_with_spec, spec_of


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
    """Builds the model without memory (on the meta device) and counts."""
    counts = dict.fromkeys(("embedding", "attention", "mlp", "norms", "head", "padding"), 0)
    model = GPT(config, Grid.single(), dtype=torch.bfloat16, device="meta")
    for parameter in parameters_with_spec([model]):
        for piece in spec_of(parameter).pieces:
            rows = piece.shape[0] if piece.rows is None else piece.rows
            row = math.prod(piece.shape[1:])
            counts[_module_of(piece.name)] += rows * row
            counts["padding"] += (piece.shape[0] - rows) * row
    return Parameters(**counts)


def _module_of(name: str) -> str:
    parts = name.split(".")
    if parts[0] in ("embedding", "position_embedding"):
        return "embedding"
    if parts[0] == "head":
        return "head"
    if any(part.endswith("norm") for part in parts):
        return "norms"
    return parts[2]
