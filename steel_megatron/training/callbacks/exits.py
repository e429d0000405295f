"""Ways to leave early: signals, a time limit, a step interval. Saving is the checkpoint callback's."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from steel_megatron.config import TrainingConfig
from steel_megatron.config.restarts import training_starts
from steel_megatron.parallel.processes.watch import current_watch
from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Trainer

log = logging.getLogger(__name__)

SECOND_THOUGHTS = 0.5  # seconds in which a second SIGINT is the same one: `timeout` and others send it twice
LAST_SECONDS = 3.0  # after the second SIGINT, for a main thread that can still say what it leaves
INTERRUPTED = 128 + signal.SIGINT  # exit status


class Exits(Callback):
    """Stops the run on a signal, when torchrun is gone, after ``exit_duration_in_mins``, or at ``exit_interval``.

    What arrives within a step stops the run at its end, short steps within seconds, and a validation after the global
    batch that it is at; then a checkpoint is written. torchrun passes SIGTERM, SIGINT, SIGHUP and SIGQUIT on to its
    workers (``--signals-to-handle``) and kills those that are still there ``--shutdown-timeout`` later.

    A second SIGINT leaves at once and saves nothing, also while the main thread waits in a library and runs no Python:
    a thread of its own hears of signals.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)

    def __init__(self, training: TrainingConfig, started: float) -> None:
        self.training = training
        self.started = started  # time.monotonic() at the start of the process: set-up counts too
        self.previous: dict[signal.Signals, Any] = {}
        self.interrupts = Interrupts()
        self.listener: Listener | None = None

    def on_start(self, trainer: Trainer) -> None:
        training_starts()
        if not self.training.exit_signal_handler:
            return
        watch = current_watch()
        if watch is not None:
            watch.on_orphaned = lambda: self.orphaned(trainer)
        if threading.current_thread() is not threading.main_thread():
            return  # signals are the main thread's, and its caller's

        def handler(number: int, frame: FrameType | None) -> None:
            if self.interrupts.second("handler", number):
                raise KeyboardInterrupt
            self.ask(trainer, f"got {signal.Signals(number).name}")

        for number in self.SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a shell's background jobs have it
                self.previous[number] = signal.signal(number, handler)
        self.listener = Listener(self.heard)

    def ask(self, trainer: Trainer, why: str) -> None:
        """Asks for the end of the run, once."""
        if not trainer.stop_request:
            trainer.stop_request = why
            log.info("%s: saving after this step, then leaving", why)

    def orphaned(self, trainer: Trainer) -> None:
        """Torchrun is gone. After a Ctrl-C that is the second one, which torchrun does not live to pass on."""
        if self.interrupts.first:
            leave_at_once()
        self.ask(trainer, "torchrun is gone")

    def heard(self, number: int) -> None:
        """A signal has come; called in the listener's thread, whatever the main thread does."""
        if self.interrupts.second("listener", number):
            time.sleep(LAST_SECONDS)
            leave_at_once()

    def look_at_clock(self, trainer: Trainer) -> None:
        limit = self.training.exit_duration_in_mins
        if limit and time.monotonic() - self.started > limit * 60:
            trainer.stop_request = trainer.stop_request or f"ran for {limit:g} minutes"

    def on_step_end(self, trainer: Trainer) -> None:
        self.look_at_clock(trainer)
        if every(self.training.exit_interval, trainer.state.step):
            trainer.stop_reason = f"reached --exit-interval {self.training.exit_interval}"

    def on_validation_batch(self, trainer: Trainer) -> None:
        self.look_at_clock(trainer)

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        for number, handler in self.previous.items():
            signal.signal(number, handler)


class Interrupts:
    """When the first SIGINT came, for each of those who count them.

    torchrun passes the first on and does not live to pass on another: it sends SIGTERM then, and waits on.
    """

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ

    def second(self, counter: str, number: int) -> bool:
        """Counts a signal; whether it is the second Ctrl-C, of somebody who does not want to wait."""
        again = self.under_torchrun and number == signal.SIGTERM and counter in self.first
        if number != signal.SIGINT and not again:
            return False
        now = time.monotonic()
        return now - self.first.setdefault(counter, now) > SECOND_THOUGHTS


class Listener:
    """Hears of signals in a thread of its own: Python's handlers wait until the main thread runs Python again."""

    def __init__(self, heard: Any) -> None:
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        self._previous = signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        self._heard = heard
        threading.Thread(target=self._run, name="signals", daemon=True).start()

    def _run(self) -> None:
        while number := os.read(self._ear, 1):
            self._heard(number[0])
        os.close(self._ear)

    def close(self) -> None:
        signal.set_wakeup_fd(self._previous)
        os.close(self._mouth)


def leave_at_once() -> None:
    """Ends this process without a word more than that: whoever presses Ctrl-C twice wants no checkpoint."""
    print("interrupted again: leaving at once, unsaved", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)
