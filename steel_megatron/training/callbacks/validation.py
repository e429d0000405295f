"""Validation: the loss over fixed samples that training never sees."""

from __future__ import annotations

import itertools
import logging
import math

from tqdm import tqdm

from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Metrics, Trainer
from steel_megatron.training.step_sums import DeviceSums, read_sums

log = logging.getLogger(__name__)


class Validation(Callback):
    """Every ``interval`` steps and at the end: ``valid_loss`` and ``valid_perplexity`` in the step's metrics.

    A run that was asked to stop does not validate, and leaves a validation under way after the global batch that it is
    at: whoever asked may give it just the time to save.

    The samples are the same at every validation and on every layout. Only loss sums and token counts leave the ranks.
    """

    def __init__(self, interval: int, iterations: int, show_progress: bool) -> None:
        self.interval = interval
        self.iterations = iterations
        self.show_progress = show_progress

    def reads(self, trainer: Trainer) -> bool:
        return every(self.interval, trainer.state.step)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        last = trainer.state.step >= trainer.components.batch_size.total_steps
        if trainer.in_haste or not (last or self.reads(trainer)):
            return
        found = self.evaluate(trainer)
        if found is not None:
            rows[-1]["valid_loss"] = found["loss"]
            rows[-1]["valid_perplexity"] = math.exp(min(found["loss"], 50.0))
            rows[-1]["valid_source_loss"] = found["source_loss"]

    def evaluate(self, trainer: Trainer) -> Metrics | None:
        """The losses over ``iterations`` global batches of the validation data, by their names in a step's metrics.

        None if a rank was asked to stop meanwhile. Ranks look for that between two global batches, and wait for the
        device there, so that the host is never ahead of it by more than one.
        """
        components, data = trainer.components, trainer.components.valid_data
        assert data is not None, "the callback is only added when there is validation data"
        size = trainer.config.training.global_batch_size or 1
        batches = data.global_batch(0, self.iterations * size)
        count = components.micro_batches(size)
        names = data.reader.order.names
        total: DeviceSums | None = None
        progress = tqdm(range(self.iterations), "validation", unit="batch", leave=False, disable=not self.show_progress)
        for done in progress:
            trainer.call("on_validation_batch")
            if trainer.agree_to_stop():
                log.info("validation left after %d of %d batches: %s", done, self.iterations, trainer.stop_reason)
                return None
            own = components.engine.evaluate(itertools.islice(batches, count), count, len(names))
            here = trainer.reduce(own)
            total = here if total is None else total.plus(here)
            (read,) = read_sums([total])
        return read.metrics(names)
