"""Validation: the loss over fixed samples that training never sees."""

from __future__ import annotations

import math

from tqdm import tqdm

from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Metrics, Trainer
from steel_megatron.training.source_sums import source_losses


class Validation(Callback):
    """Every ``interval`` steps and at the end: ``valid_loss`` and ``valid_perplexity`` in the step's metrics.

    A run that was asked to stop does not validate: whoever asked may give it just the time to save.

    The samples are the same at every validation and on every layout. Only loss sums and token counts leave the ranks.
    """

    def __init__(self, interval: int, iterations: int, show_progress: bool) -> None:
        self.interval = interval
        self.iterations = iterations
        self.show_progress = show_progress

    def reads(self, trainer: Trainer) -> bool:
        return every(self.interval, trainer.state.step)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        last = trainer.state.step >= trainer.parts.batch_size.total_steps
        if last or (self.reads(trainer) and not trainer.in_haste):
            loss, by_source = self.evaluate(trainer)
            rows[-1]["valid_loss"] = loss
            rows[-1]["valid_perplexity"] = math.exp(min(loss, 50.0))
            rows[-1]["valid_source_loss"] = by_source

    def evaluate(self, trainer: Trainer) -> tuple[float, dict[str, float]]:
        """Mean loss per token over ``iterations`` global batches of the validation data, and that of each source."""
        parts, data = trainer.parts, trainer.parts.valid_data
        assert data is not None, "the callback is only added when there is validation data"
        size = trainer.config.training.global_batch_size or 1
        count = parts.micro_batches(self.iterations * size)
        batches = tqdm(
            data.global_batch(0, self.iterations * size),
            total=count,
            desc="validation",
            unit="batch",
            leave=False,
            disable=not self.show_progress,
        )
        names = data.reader.order.names
        loss, tokens, _, *sums, _ = trainer.reduce(parts.engine.evaluate(iter(batches), count, len(names))).tolist()
        return loss / max(tokens, 1.0), source_losses(sums, names)
