"""The hooks of the training loop. Everything that is not training itself is a callback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steel_megatron.training.loop import Trainer

# What is known of a step: numbers by their name in metrics.jsonl. Callbacks earlier in the list may add to it.
Metrics = dict[str, Any]


class Callback:
    """Base of all callbacks; every hook does nothing unless overridden.

    A hook runs on every rank, in the order of the trainer's list, so that it may use collectives.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, after a checkpoint has been loaded."""

    def on_step_begin(self, trainer: Trainer) -> None:
        """Before the batch of a step is fetched."""

    def on_step_end(self, trainer: Trainer, metrics: Metrics) -> None:
        """After the weights have changed; ``trainer.state`` already counts the step."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step, also when the run stops early; not after an exception."""

    def close(self) -> None:
        """Always called at last, also after an exception: release files and handlers."""
