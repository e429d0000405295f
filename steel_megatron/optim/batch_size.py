"""The global batch size over the run, with its ramp-up: pure functions of the samples consumed."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, NamedTuple

from steel_megatron.config import TrainingConfig


class Reached(NamedTuple):
    """How far a run has come in each unit of its length."""

    step: int = 0
    samples: int = 0
    tokens: int = 0


BEGINNING = Reached()


@dataclass(frozen=True)
class Level:
    """A stretch of steps with one batch size and one length of samples, from its first step, sample and token on."""

    first_step: int
    first_sample: int
    first_token: int
    batch: int  # samples
    seq_length: int  # tokens


class BatchSize:
    """Samples per step, and the way between steps, samples and tokens, in time of the number of ramp-up increments.

    ``--rampup-batch-size START INCREMENT SAMPLES``: of n = (global batch - START) / INCREMENT increments the i-th is
    made once i/n of SAMPLES are consumed. A step keeps the size it began with.

    ``total_steps`` and ``total_samples`` are the length of the run; with ``--train-samples`` the last step is the last
    whole batch.

    A run that continues counts its past as it was and only its future by the configuration, so that it may change its
    batch size: with ``--train-samples`` it trains on what is left of them.

    Args:
        training: ``global_batch_size`` is set.
        reached: where the run stands, 0 for a new one.
        past: the levels up to there (:func:`past_levels`).
    """

    def __init__(self, training: TrainingConfig, reached: Reached = BEGINNING, past: Sequence[Level] = ()) -> None:
        assert training.global_batch_size is not None, "check_run fills the global batch size"
        self.full = training.global_batch_size
        self.seq_length = training.seq_length
        self.start, self.increment, self.ramp_samples = training.rampup_batch_size or (self.full, 1, 0)
        self.increments = (self.full - self.start) // self.increment
        self.levels = [*past, *self._levels(reached)]
        if training.train_iters is not None:
            self.total_steps = training.train_iters
        else:
            assert training.train_samples is not None, "check_run demands a length of the run"
            self.total_steps = self.step_at(training.train_samples)
        self.total_samples = self.samples_at(self.total_steps)
        self.total_tokens = int(self.tokens_at(self.total_samples))

    def global_batch_at(self, consumed_samples: int) -> int:
        """Samples of the step that begins when so many are consumed."""
        return self.start + self._increments_at(consumed_samples) * self.increment

    def samples_at(self, step: int) -> int:
        """Samples consumed before the step of this number (from 0)."""
        level = self._level("first_step", step)
        return level.first_sample + (step - level.first_step) * level.batch

    def step_at(self, consumed_samples: int) -> int:
        """Whole steps that so many samples make; the inverse of :meth:`samples_at`."""
        level = self._level("first_sample", consumed_samples)
        return level.first_step + (consumed_samples - level.first_sample) // level.batch

    def tokens_at(self, consumed_samples: float) -> float:
        """Tokens in so many samples; whole for a whole number."""
        level = self._level("first_sample", consumed_samples)
        return level.first_token + (consumed_samples - level.first_sample) * level.seq_length

    def samples_of(self, consumed_tokens: float) -> float:
        """The inverse of :meth:`tokens_at`."""
        level = self._level("first_token", consumed_tokens)
        return level.first_sample + (consumed_tokens - level.first_token) / level.seq_length

    def record(self, step: int) -> list[list[int]]:
        """The levels before a step as plain JSON values, for a checkpoint."""
        return [list(astuple(level)) for level in self.levels if level.first_step < step]

    def _level(self, key: str, position: float) -> Level:
        return self.levels[
            max(bisect.bisect_right(self.levels, position, key=lambda level: getattr(level, key)) - 1, 0)
        ]

    def _increments_at(self, consumed_samples: int) -> int:
        if self.ramp_samples == 0:
            return self.increments
        return min(consumed_samples * self.increments // self.ramp_samples, self.increments)

    def _levels(self, reached: Reached) -> list[Level]:
        levels = [Level(*reached, self.global_batch_at(reached.samples), self.seq_length)]
        while levels[-1].batch < self.full:
            level = levels[-1]
            made = (level.batch - self.start) // self.increment
            # The first sample count at which the next increment is due, reached in whole steps.
            due = -(-(made + 1) * self.ramp_samples // self.increments)
            steps = -(-(due - level.first_sample) // level.batch)
            sample = level.first_sample + steps * level.batch
            token = level.first_token + steps * level.batch * self.seq_length
            levels.append(Level(level.first_step + steps, sample, token, self.global_batch_at(sample), self.seq_length))
        return levels


def past_levels(facts: Mapping[str, Any]) -> tuple[Reached, list[Level]]:
    """Where the run of a checkpoint stood, and the levels up to there.

    Args:
        facts: of the checkpoint. One that has no levels yet has had one configuration, or is taken to have had one
            batch size.
    """
    state = facts["state"]
    reached = Reached(int(state["step"]), int(state["consumed_samples"]), int(state["consumed_tokens"]))
    if "batches" in facts:
        return reached, [Level(*entry) for entry in facts["batches"]]
    if reached.step == 0:
        return reached, []
    known = {field.name for field in fields(TrainingConfig)}
    saved = {name: value for name, value in facts["config"]["training"].items() if name in known}
    sizes = BatchSize(TrainingConfig(**saved))
    if sizes.samples_at(reached.step) == reached.samples:
        return reached, [level for level in sizes.levels if level.first_step < reached.step]
    return reached, [Level(0, 0, 0, max(reached.samples // reached.step, 1), saved["seq_length"])]
