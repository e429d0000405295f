"""When checkpoints are written, and what goes into them and comes back."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from steel_megatron.checkpoint.rng import capture_random_state
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.checkpoint.version import code_version
from steel_megatron.config import CheckpointConfig, StorageError
from steel_megatron.model.slices import model_slices
from steel_megatron.ops.backends import chosen
from steel_megatron.parallel.collectives import any_rank
from steel_megatron.training.callbacks.outside import states_of
from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Metrics, Trainer

log = logging.getLogger(__name__)


class Checkpointing(Callback):
    """Saves every ``save_interval`` steps, ``save_interval_in_mins`` after the last checkpoint, and at the run's end.

    Not after an exception.
    """

    def __init__(
        self, store: CheckpointStore, config: CheckpointConfig, overrides: Sequence[dict[str, Any]] = ()
    ) -> None:
        self.store = store
        self.config = config
        self.overrides = list(overrides)  # what --override-checkpoint-model has let pass in this run
        self.saved_step = -1
        self.saved_time = time.monotonic()

    def on_start(self, trainer: Trainer) -> None:
        states_of(trainer.callbacks)  # what no checkpoint can hold is refused now, not when the first is due
        self.saved_step = trainer.state.step  # what was loaded need not be written again
        self.saved_time = time.monotonic()

    def reads(self, trainer: Trainer) -> bool:
        # What is saved has been checked to be finite, and the metrics of the steps before it are written.
        return every(self.config.save_interval, trainer.state.step)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        if self.reads(trainer) or self.overdue(trainer):
            self.save(trainer, last=trainer.state.step >= trainer.components.batch_size.total_steps)

    def overdue(self, trainer: Trainer) -> bool:
        """Whether the time since the last checkpoint is up on any rank, so that all save at the same step."""
        minutes = self.config.save_interval_in_mins
        if not minutes or trainer.stop_reason:  # the end of the run saves anyway
            return False
        return any_rank(time.monotonic() - self.saved_time > minutes * 60, trainer.components.grid.world)

    def on_end(self, trainer: Trainer) -> None:
        if trainer.state.step != self.saved_step:
            self.save(trainer, last=True)

    def save(self, trainer: Trainer, last: bool = False) -> None:
        """Writes a checkpoint of the current step and removes those that need not be kept.

        Where the file system does not take it, nothing of it is left, and the run goes on to the next interval.

        Args:
            last: there is no next interval.

        Raises:
            StorageError: the file system did not take the last one, or any with ``strict_saves``.
        """
        components = trainer.components
        components.data_parallel.wait_parameters()
        blocks = model_slices(components.chunks) | components.optimizer.slices()
        facts = saved_facts(trainer) | {"overrides": self.overrides}
        try:
            self.store.save(trainer.state.step, blocks, facts, capture_random_state())
        except StorageError as error:
            self.saved_time = time.monotonic()  # of the attempt: not again at the next step
            self._not_saved(trainer, error, last)
            return
        self.saved_step = trainer.state.step
        self.saved_time = time.monotonic()
        self.store.prune(self.config.save_retain, self.config.save_retain_interval, saved=self.saved_step)

    def _not_saved(self, trainer: Trainer, error: StorageError, last: bool) -> None:
        whole = self.store.steps()
        kept = f"the newest checkpoint is of step {whole[-1]}" if whole else "there is no checkpoint yet"
        if last or self.config.strict_saves:
            raise StorageError(
                f"{error.given}; {kept}",
                rule="the run's last state is kept" if last else "with --strict-saves every checkpoint is written",
                fix="make room and give the same command again: it goes on from the newest checkpoint",
            ) from error
        if trainer.components.grid.world.rank == 0:
            log.warning(
                "%s\n  %s; training goes on, and the next interval tries again (--strict-saves stops instead)",
                error.given,
                kept,
            )


def saved_facts(trainer: Trainer) -> dict[str, Any]:
    """The part of a checkpoint that is not tensors."""
    components = trainer.components
    grid = components.grid
    return {
        "state": trainer.state.to_dict(),
        "batches": components.batch_size.record(trainer.state.step),
        "config": trainer.config.to_dict(),
        "optimizer": components.optimizer.scalars(),
        "phases": components.datasets.phases,
        "tokenizer_fingerprint": components.datasets.tokenizer.fingerprint,
        "code_version": code_version(),
        "skipped_steps": trainer.non_finite.record,
        "callbacks": states_of(trainer.callbacks),
        "kernels": chosen(grid.device.type),
        "layout": {"world": grid.world.size, "tp": grid.tp.size, "pp": grid.pp.size, "dp": grid.dp.size},
    }
