"""Ways to leave early: signals, a time limit, a step interval. Saving is the checkpoint callback's."""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType
from typing import Any

from steel_megatron.config import TrainingConfig
from steel_megatron.parallel.watch import current_watch
from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Trainer

log = logging.getLogger(__name__)

SECOND_THOUGHTS = 3.0  # seconds in which a second SIGINT is the same one: from the terminal and through torchrun


class Exits(Callback):
    """Stops the run on a signal, when torchrun is gone, after ``exit_duration_in_mins``, or at ``exit_interval``.

    What arrives within a step stops the run at its end, short steps within seconds; then a checkpoint is written.
    torchrun passes SIGTERM, SIGINT, SIGHUP and SIGQUIT on to its workers (``--signals-to-handle``) and kills those that
    are still there ``--shutdown-timeout`` later.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)

    def __init__(self, training: TrainingConfig, started: float) -> None:
        self.training = training
        self.started = started  # time.monotonic() at the start of the process: set-up counts too
        self.previous: dict[signal.Signals, Any] = {}
        self.interrupted = 0.0  # when the first SIGINT came

    def on_start(self, trainer: Trainer) -> None:
        if not self.training.exit_signal_handler:
            return
        watch = current_watch()
        if watch is not None:
            watch.on_orphaned = lambda: self.ask(trainer, "torchrun is gone")
        if threading.current_thread() is not threading.main_thread():
            return  # signals are the main thread's, and its caller's

        def handler(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGINT:
                self.interrupt()
            self.ask(trainer, f"got {signal.Signals(number).name}")

        for number in self.SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a shell's background jobs have it
                self.previous[number] = signal.signal(number, handler)

    def ask(self, trainer: Trainer, why: str) -> None:
        """Asks for the end of the run, once."""
        if not trainer.stop_request:
            trainer.stop_request = why
            log.info("%s: saving after this step, then leaving", why)

    def interrupt(self) -> None:
        """A second SIGINT is for those who do not want to wait.

        Raises:
            KeyboardInterrupt: this is the second one.
        """
        now = time.monotonic()
        if self.interrupted and now - self.interrupted > SECOND_THOUGHTS:
            raise KeyboardInterrupt
        self.interrupted = self.interrupted or now

    def on_step_end(self, trainer: Trainer) -> None:
        limit = self.training.exit_duration_in_mins
        if limit and time.monotonic() - self.started > limit * 60:
            trainer.stop_request = f"ran for {limit:g} minutes"
        if every(self.training.exit_interval, trainer.state.step):
            trainer.stop_reason = f"reached --exit-interval {self.training.exit_interval}"

    def close(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
