"""A torch profiler trace of some steps."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from steel_megatron.jobs.durable import partial_of
from steel_megatron.training.loop import Callback, Trainer

log = logging.getLogger(__name__)


class Profiling(Callback):
    """Records the steps ``start`` to ``end - 1`` (numbered from 1, as in the log) into a Chrome trace per rank.

    Of these the run may make some alone, or none: the trace is named after what it holds.
    """

    def __init__(self, folder: Path, start: int, end: int, rank: int) -> None:
        self.folder = folder
        self.start = start
        self.end = end
        self.rank = rank
        self.profiler: profile | None = None
        self.first = 0  # the first step that is recorded

    def on_step_begin(self, trainer: Trainer) -> None:
        step = trainer.state.step + 1
        if self.start <= step < self.end and self.profiler is None:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self.profiler = profile(activities=activities, record_shapes=True, with_stack=False)
            self.profiler.start()
            self.first = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.state.step + 1 >= self.end:
            self._write(trainer.state.step)

    def on_end(self, trainer: Trainer) -> None:
        self._write(trainer.state.step)
        if not self.first:
            log.info("no profile: the run made none of the steps %d to %d", self.start, self.end - 1)

    def close(self) -> None:
        if self.profiler is not None:  # after an exception; torch has one profiler at a time
            self.profiler.stop()
            self.profiler = None

    def _write(self, last: int) -> None:
        if self.profiler is None:
            return
        profiler, self.profiler = self.profiler, None
        profiler.stop()
        path = self.folder / f"trace_rank{self.rank}_steps{self.first}-{last}.json"
        partial = partial_of(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            profiler.export_chrome_trace(str(partial))
            if not partial.exists():  # torch's writer does not tell of a full disk
                raise OSError("torch's writer has left nothing; is there room?")
            os.replace(partial, path)
            log.info("profile of steps %d to %d: %s (open in ui.perfetto.dev)", self.first, last, path)
        except (OSError, RuntimeError) as error:  # torch's writer raises the latter
            log.warning("the profile is lost, %s cannot be written: %s; training goes on", path, error)
            with contextlib.suppress(OSError):
                for left in path.parent.glob(f"{partial.name}*"):
                    left.unlink()
