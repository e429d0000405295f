"""The global batch size over the run, with its ramp-up: pure functions of the samples consumed."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from steel_megatron.config import TrainingConfig


@dataclass(frozen=True)
class Level:
    """A stretch of steps with one batch size; it begins at ``first_step`` and ``first_sample``."""

    first_step: int
    first_sample: int
    batch: int


class BatchSize:
    """Samples per step, and the way between steps and samples, in time of the number of ramp-up increments.

    ``--rampup-batch-size START INCREMENT SAMPLES``: of n = (global batch - START) / INCREMENT increments the i-th is
    made once i/n of SAMPLES are consumed. A step keeps the size it began with.

    ``total_steps`` and ``total_samples`` are the length of the run; with ``--train-samples`` the last step is the last
    whole batch.
    """

    def __init__(self, training: TrainingConfig) -> None:
        assert training.global_batch_size is not None, "check_run fills the global batch size"
        self.full = training.global_batch_size
        self.start, self.increment, self.ramp_samples = training.rampup_batch_size or (self.full, 1, 0)
        self.increments = (self.full - self.start) // self.increment
        self.levels = self._levels()
        if training.train_iters is not None:
            self.total_steps = training.train_iters
        else:
            assert training.train_samples is not None, "check_run demands a length of the run"
            self.total_steps = self.step_at(training.train_samples)
        self.total_samples = self.samples_at(self.total_steps)

    def global_batch_at(self, consumed_samples: int) -> int:
        """Samples of the step that begins when so many are consumed."""
        return self.start + self._increments_at(consumed_samples) * self.increment

    def samples_at(self, step: int) -> int:
        """Samples consumed before the step of this number (from 0)."""
        level = self.levels[bisect.bisect_right(self.levels, step, key=lambda level: level.first_step) - 1]
        return level.first_sample + (step - level.first_step) * level.batch

    def step_at(self, consumed_samples: int) -> int:
        """Whole steps that so many samples make; the inverse of :meth:`samples_at`."""
        level = self.levels[
            bisect.bisect_right(self.levels, consumed_samples, key=lambda level: level.first_sample) - 1
        ]
        return level.first_step + (consumed_samples - level.first_sample) // level.batch

    def _increments_at(self, consumed_samples: int) -> int:
        if self.ramp_samples == 0:
            return self.increments
        return min(consumed_samples * self.increments // self.ramp_samples, self.increments)

    def _levels(self) -> list[Level]:
        levels = [Level(0, 0, self.global_batch_at(0))]
        while levels[-1].batch < self.full:
            level = levels[-1]
            made = (level.batch - self.start) // self.increment
            # The first sample count at which the next increment is due, reached in whole steps.
            due = -(-(made + 1) * self.ramp_samples // self.increments)
            steps = -(-(due - level.first_sample) // level.batch)
            sample = level.first_sample + steps * level.batch
            levels.append(Level(level.first_step + steps, sample, self.global_batch_at(sample)))
        return levels
