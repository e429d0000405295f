"""When checkpoints are written, and what goes into them and comes back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from steel_megatron.checkpoint.rng import capture_random_state
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.checkpoint.version import code_version
from steel_megatron.config import CheckpointConfig
from steel_megatron.model.blocks import model_blocks
from steel_megatron.ops.backends import chosen
from steel_megatron.parallel.collectives import any_rank
from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Metrics, Trainer


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
        self.saved_step = trainer.state.step  # what was loaded need not be written again
        self.saved_time = time.monotonic()

    def reads(self, trainer: Trainer) -> bool:
        # What is saved has been checked to be finite, and the metrics of the steps before it are written.
        return every(self.config.save_interval, trainer.state.step)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        if self.reads(trainer) or self.overdue(trainer):
            self.save(trainer)

    def overdue(self, trainer: Trainer) -> bool:
        """Whether the time since the last checkpoint is up on any rank, so that all save at the same step."""
        minutes = self.config.save_interval_in_mins
        if not minutes or trainer.stop_reason:  # the end of the run saves anyway
            return False
        return any_rank(time.monotonic() - self.saved_time > minutes * 60, trainer.parts.mesh.world)

    def on_end(self, trainer: Trainer) -> None:
        if trainer.state.step != self.saved_step:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes a checkpoint of the current step and removes those that need not be kept."""
        parts = trainer.parts
        parts.data_parallel.wait_parameters()
        blocks = model_blocks(parts.chunks) | parts.optimizer.blocks()
        self.store.save(
            trainer.state.step, blocks, saved_facts(trainer) | {"overrides": self.overrides}, capture_random_state()
        )
        self.saved_step = trainer.state.step
        self.saved_time = time.monotonic()
        self.store.prune(self.config.save_retain, self.config.save_retain_interval, saved=self.saved_step)


def saved_facts(trainer: Trainer) -> dict[str, Any]:
    """The part of a checkpoint that is not tensors."""
    parts = trainer.parts
    mesh = parts.mesh
    return {
        "state": trainer.state.to_dict(),
        "batches": parts.batch_size.record(trainer.state.step),
        "config": trainer.config.to_dict(),
        "optimizer": parts.optimizer.scalars(),
        "phases": parts.datasets.phases,
        "tokenizer_fingerprint": parts.datasets.tokenizer.fingerprint,
        "code_version": code_version(),
        "skipped_steps": trainer.non_finite.record,
        "kernels": chosen(mesh.device.type),
        "layout": {"world": mesh.world.size, "tp": mesh.tp.size, "pp": mesh.pp.size, "dp": mesh.dp.size},
    }
