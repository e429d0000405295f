"""Validation: the loss over fixed samples that training never sees."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from steel_megatron.training.callbacks import Callback, Metrics
from steel_megatron.training.microbatch import micro_batch_loss

if TYPE_CHECKING:
    from steel_megatron.training.loop import Trainer


class Validation(Callback):
    """Every ``interval`` steps and at the end: ``valid_loss`` and ``valid_perplexity`` in the step's metrics.

    The samples are the same at every validation and on every layout. Only (loss sum, token count) leave the ranks.
    """

    def __init__(self, interval: int, iterations: int, show_progress: bool) -> None:
        self.interval = interval
        self.iterations = iterations
        self.show_progress = show_progress

    def on_step_end(self, trainer: Trainer, metrics: Metrics) -> None:
        last = trainer.stop_reason or trainer.state.step >= trainer.parts.batch_size.total_steps
        if last or trainer.state.step % self.interval == 0:
            loss = self.evaluate(trainer)
            metrics["valid_loss"] = loss
            metrics["valid_perplexity"] = math.exp(min(loss, 50.0))

    def evaluate(self, trainer: Trainer) -> float:
        """Mean loss per token over ``iterations`` global batches of the validation data."""
        parts, data = trainer.parts, trainer.parts.valid_data
        assert data is not None, "the callback is only added when there is validation data"
        size = trainer.config.training.global_batch_size or 1
        totals = torch.zeros(3, dtype=torch.float64, device=parts.mesh.device)
        batches = tqdm(
            data.global_batch(0, self.iterations * size),
            total=self.iterations * size // (data.micro_batch_size * parts.mesh.dp.size),
            desc="validation",
            unit="batch",
            leave=False,
            disable=not self.show_progress,
        )
        with trainer.evaluating():
            for batch in batches:
                totals[0] += micro_batch_loss(parts.model, batch, seed=0)
                totals[1] += batch.loss_mask_BS.sum()
        loss, count, _ = trainer.reduce(totals)
        return loss / max(count, 1.0)
