"""A torch profiler trace of some steps."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from steel_megatron.training.loop import Callback, Trainer

log = logging.getLogger(__name__)


class Profiling(Callback):
    """Records the steps ``start`` to ``end - 1`` (numbered from 1, as in the log) into a Chrome trace per rank."""

    def __init__(self, folder: Path, start: int, end: int, rank: int) -> None:
        self.path = folder / f"trace_rank{rank}_steps{start}-{end - 1}.json"
        self.start = start
        self.end = end
        self.profiler: profile | None = None

    def on_step_begin(self, trainer: Trainer) -> None:
        step = trainer.state.step + 1
        if self.start <= step < self.end and self.profiler is None:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self.profiler = profile(activities=activities, record_shapes=True, with_stack=False)
            self.profiler.start()

    def on_step_end(self, trainer: Trainer) -> None:
        if self.profiler is not None and trainer.state.step + 1 >= self.end:
            self._write()

    def on_end(self, trainer: Trainer) -> None:
        if self.profiler is not None:
            self._write()

    def _write(self) -> None:
        assert self.profiler is not None
        self.profiler.stop()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.profiler.export_chrome_trace(str(self.path))
            log.info("profile of steps %d to %d: %s (open in ui.perfetto.dev)", self.start, self.end - 1, self.path)
        except (OSError, RuntimeError) as error:  # torch's writer raises the latter
            log.warning("the profile is lost, %s cannot be written: %s; training goes on", self.path, error)
        self.profiler = None
