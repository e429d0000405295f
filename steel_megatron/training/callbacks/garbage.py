"""Garbage collection at the same step on every rank, so that no rank waits for another's collector."""

from __future__ import annotations

import gc

from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Trainer


class GarbageCollection(Callback):
    """Turns automatic collection off and collects every ``interval`` steps; 0: never."""

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def on_start(self, trainer: Trainer) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()

    def on_step_end(self, trainer: Trainer) -> None:
        if every(self.interval, trainer.state.step):
            gc.collect()

    def close(self) -> None:
        gc.enable()
