"""What is timed: training steps by name, and the conditions that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from steel_megatron.config import RunConfig

Step = Callable[[], object]  # one optimizer step on the next batch; may return before the device is done


@dataclass(frozen=True)
class Setting:
    """Model, batch and device; every contender gets its own copy of the configuration."""

    config: RunConfig
    device: str

    def of_micro_batch(self, size: int) -> Setting:
        """The same with another micro-batch."""
        return Setting(self.config.replace(micro_batch_size=size, global_batch_size=size), self.device)

    @property
    def vocab_size(self) -> int:
        assert self.config.model.vocab_size is not None
        return self.config.model.vocab_size

    def batches(self, count: int = 8) -> list[torch.Tensor]:
        """Random tokens (B, S + 1), on the device: peers pay nothing for their data."""
        training = self.config.training
        shape = (training.micro_batch_size, training.seq_length + 1)
        made = [
            torch.randint(0, self.vocab_size, shape, generator=torch.Generator().manual_seed(seed))
            for seed in range(count)
        ]
        return [tokens.to(self.device) for tokens in made]


@dataclass(frozen=True)
class Contender:
    """A training step.

    ``missing`` says why it cannot run on a kind of device, and is empty where it can. ``slow_start``: takes a minute or
    more of compilation before its first step. ``load`` imports what it needs, so that code is not taken for its memory.
    """

    name: str
    build: Callable[[Setting], Step]
    missing: Callable[[str], str] = lambda device: ""
    slow_start: bool = False
    load: Callable[[Setting], object] = lambda setting: None
