"""Ways to leave early: signals, a time limit, a step interval. Saving is the checkpoint callback's."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

from steel_megatron.config import TrainingConfig
from steel_megatron.training.loop import Callback, Trainer


class Exits(Callback):
    """Stops the run on SIGTERM and SIGUSR1, after ``exit_duration_in_mins``, or at ``exit_interval``.

    torchrun forwards SIGTERM to its workers and kills them 30 s later, so a checkpoint must be written in that time.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, training: TrainingConfig, started: float) -> None:
        self.training = training
        self.started = started  # time.monotonic() at the start of the process: set-up counts too
        self.previous: dict[signal.Signals, Any] = {}

    def on_start(self, trainer: Trainer) -> None:
        if not self.training.exit_signal_handler:
            return

        def handler(number: int, frame: FrameType | None) -> None:
            trainer.stop_request = f"got {signal.Signals(number).name}"

        for number in self.SIGNALS:
            self.previous[number] = signal.signal(number, handler)

    def on_step_end(self, trainer: Trainer) -> None:
        limit = self.training.exit_duration_in_mins
        if limit is not None and time.monotonic() - self.started > limit * 60:
            trainer.stop_request = f"ran for {limit:g} minutes"
        interval = self.training.exit_interval
        if interval and trainer.state.step % interval == 0:
            trainer.stop_reason = f"reached --exit-interval {interval}"

    def close(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
