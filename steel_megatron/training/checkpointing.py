"""When checkpoints are written, and what goes into them and comes back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from steel_megatron.checkpoint.rng import capture_random_state
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.checkpoint.version import code_version
from steel_megatron.config import CheckpointConfig
from steel_megatron.parallel.spec import Block, blocks_of, parameters_with_spec
from steel_megatron.training.callbacks import Callback, Metrics

if TYPE_CHECKING:
    from steel_megatron.training.loop import Trainer
    from steel_megatron.training.setup import Parts

log = logging.getLogger(__name__)


class Checkpointing(Callback):
    """Saves every ``save_interval`` steps and when the run ends for any reason but an exception."""

    def __init__(self, store: CheckpointStore, config: CheckpointConfig) -> None:
        self.store = store
        self.config = config
        self.saved_step = -1

    def on_start(self, trainer: Trainer) -> None:
        self.saved_step = trainer.state.step  # what was loaded need not be written again

    def on_step_end(self, trainer: Trainer, metrics: Metrics) -> None:
        interval = self.config.save_interval
        if interval and trainer.state.step % interval == 0:
            self.save(trainer)

    def on_end(self, trainer: Trainer) -> None:
        if trainer.state.step != self.saved_step:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes a checkpoint of the current step and removes those that need not be kept."""
        parts = trainer.parts
        parts.data_parallel.wait_parameters()
        blocks = model_blocks(parts) | parts.optimizer.blocks()
        self.store.save(trainer.state.step, blocks, saved_facts(trainer), capture_random_state())
        self.saved_step = trainer.state.step
        self.store.prune(self.config.save_retain, self.config.save_retain_interval)


def model_blocks(parts: Parts) -> dict[str, Block]:
    """The model's parameters under their layout-independent names."""
    return {
        f"model.{piece.name}": block
        for parameter in parameters_with_spec([parts.model])
        for piece, block in blocks_of(parameter)
    }


def saved_facts(trainer: Trainer) -> dict[str, Any]:
    """The part of a checkpoint that is not tensors."""
    parts = trainer.parts
    mesh = parts.mesh
    return {
        "state": trainer.state.to_dict(),
        "config": trainer.config.to_dict(),
        "optimizer": parts.optimizer.scalars(),
        "phases": parts.phases,
        "tokenizer_fingerprint": parts.tokenizer_fingerprint,
        "code_version": code_version(),
        "layout": {"world": mesh.world.size, "tp": mesh.tp.size, "pp": mesh.pp.size, "dp": mesh.dp.size},
    }
