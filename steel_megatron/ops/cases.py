"""What is timed of an operation, so that ``auto`` takes the fastest of its implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steel_megatron.config import ModelConfig


@dataclass(frozen=True)
class Case:
    """An operation of a model in its training step.

    Args:
        tensors: what the policy is asked about.
        run: what is timed: forward and backward.
        results: what all implementations have to agree on, from the same start.
        tolerance: by how much they may differ from fp32's, of the results' norm; bf16 rounds by 0.004.
    """

    tensors: tuple[Tensor, ...]
    run: Callable[[], object]
    results: Callable[[], Iterable[Tensor]]
    tolerance: float = 0.02


@dataclass(frozen=True)
class Setting:
    """What a case is made for: a model's shapes (``vocab_size`` is set), so many samples of a length, device, type."""

    model: ModelConfig
    batch: int
    length: int
    device: torch.device
    dtype: torch.dtype

    def random(self, *shape: int, seed: int = 0) -> Tensor:
        """The same numbers in every type: they fit bf16."""
        generator = torch.Generator(device=self.device).manual_seed(seed)
        return torch.randn(shape, device=self.device, dtype=torch.bfloat16, generator=generator).to(self.dtype)

    def hidden(self) -> Tensor:
        """(batch, length, hidden size)."""
        return self.random(self.batch, self.length, self.model.hidden_size)

    def heads(self) -> list[Tensor]:
        """Queries, keys and values, (batch, length, heads, head size)."""
        counts = [self.model.num_attention_heads, self.model.query_groups, self.model.query_groups]
        return [
            self.random(self.batch, self.length, count, self.model.head_dim, seed=seed)
            for seed, count in enumerate(counts)
        ]

    def differentiable(self, function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Case:
        """A function of tensors, forward and backward."""
        leaves = [tensor.requires_grad_() for tensor in inputs]
        grad = self.random(*function(*leaves).shape, seed=7)

        def run() -> list[Tensor]:
            y = function(*leaves)
            return [y, *torch.autograd.grad(y, leaves, grad)]

        return Case(tuple(inputs), run, run)
