"""The learning rate: a pure function of where the run stands.

A step's rate belongs to the position x at its end, so that the first step of a warm-up of w steps has lr/w, not 0, and
the last step of the decay has min-lr:

    x <= w    lr_warmup_init + (lr - lr_warmup_init) x / w
    x >  w    the decay style's, see :mod:`steel_megatron.optim.decay`

Positions are steps, samples or tokens, as the lengths were given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from steel_megatron.config import ConfigError, OptimizerConfig, TrainingConfig
from steel_megatron.config.optimizer import DECAY_STYLES
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.optim.decay import Moment


@dataclass(frozen=True)
class Length:
    """A point of the run in one of its units: ``iters``, ``samples`` or ``tokens``."""

    value: float
    unit: str


class LearningRate:
    """The schedule of a run.

    Args:
        batch_size: of a run that continues, which knows its past; unset: of a new run.

    Raises:
        ConfigError: the warm-up, or WSD's decay, does not fit into the decay length; a style from outside fails.
    """

    def __init__(
        self, optimizer: OptimizerConfig, training: TrainingConfig, batch_size: BatchSize | None = None
    ) -> None:
        self.config = optimizer
        self.batch_size = batch_size or BatchSize(training)
        self.seq_length = training.seq_length
        self.decay = self._decay(training)
        self.warmup = self._warmup()
        self.decay_start = self._convert(self.warmup, self.decay.unit)
        if self.decay_start >= self.decay.value:
            raise ConfigError(
                f"a warm-up of {self.warmup.value:g} {self.warmup.unit} in a schedule that ends after "
                f"{self.decay.value:g} {self.decay.unit}",
                rule="the warm-up ends before the decay does",
                fix="shorten the warm-up or lengthen the run",
            )
        self.style = DECAY_STYLES.partial(optimizer.lr_decay_style, "--lr-decay-style")
        self._try_style()

    def at(self, step: int, consumed_samples: int, consumed_tokens: int) -> float:
        """The rate of the step that begins after so many steps, samples and tokens."""
        batch = self.batch_size.global_batch_at(consumed_samples)
        position = {
            "iters": step + 1,
            "samples": consumed_samples + batch,
            "tokens": consumed_tokens + batch * self.seq_length,
        }
        peak, first = self.config.lr, self.config.lr_warmup_init
        x = position[self.warmup.unit]
        if x < self.warmup.value:
            return first + (peak - first) * x / self.warmup.value
        return self._after_warmup(min(max(position[self.decay.unit], self.decay_start), self.decay.value), position)

    def _after_warmup(self, x: float, position: Mapping[str, int]) -> float:
        t = (x - self.decay_start) / (self.decay.value - self.decay_start)
        step, samples, tokens = position.values()
        return self.style(Moment(t, x, step, samples, tokens, self.config.lr, self.config.min_lr, self))

    def _try_style(self) -> None:
        """Raises :class:`ConfigError` for a style that fails, or gives no rate, somewhere on the way."""
        for share in (0.0, 0.5, 1.0):
            x = self.decay_start + share * (self.decay.value - self.decay_start)
            step = round(self._convert(Length(x, self.decay.unit), "iters"))
            samples = self.batch_size.samples_at(step)
            position = {"iters": step, "samples": samples, "tokens": samples * self.seq_length}
            try:
                rate: Any = self._after_warmup(x, position)
                fault = "" if isinstance(rate, (int, float)) and 0 <= rate < math.inf else f"gives {rate!r}"
            except ConfigError:
                raise
            except Exception as error:  # whatever another's function raises
                fault = f"fails: {type(error).__name__}: {error}"
            if fault:
                raise ConfigError(
                    f"--lr-decay-style {self.config.lr_decay_style} {fault} at step {step:,}",
                    rule="a schedule gives a learning rate, 0 or more and finite, for every step of the run",
                )

    @property
    def first_step(self) -> float:
        """Where the first step ends, in the unit of the decay's length."""
        return self._convert(Length(1, "iters"), self.decay.unit)

    def _decay(self, training: TrainingConfig) -> Length:
        for unit in ("iters", "samples", "tokens"):
            value = getattr(self.config, f"lr_decay_{unit}")
            if value is not None:
                return Length(value, unit)
        if training.train_iters is not None:
            return Length(self.batch_size.total_steps, "iters")
        return Length(self.batch_size.total_samples, "samples")

    def _warmup(self) -> Length:
        for unit in ("iters", "samples", "tokens"):
            value = getattr(self.config, f"lr_warmup_{unit}")
            if value:  # 0 is none, as in Megatron-LM, whose scripts give it beside another unit
                return Length(value, unit)
        return Length((self.config.lr_warmup_fraction or 0.0) * self.decay.value, self.decay.unit)

    @cached_property
    def wsd_start(self) -> float:
        """Where WSD's decay begins, in the unit of the decay's length.

        Raises:
            ConfigError: it does not fit behind the warm-up.
        """
        iters = self.config.lr_wsd_decay_iters
        if iters is None:
            length = self.decay.value / 10
        elif self.decay.unit == "iters":
            length = iters
        else:
            length = iters * self.batch_size.full * (self.seq_length if self.decay.unit == "tokens" else 1)
        if length > self.decay.value - self.decay_start:
            raise ConfigError(
                f"a WSD decay of {length:g} {self.decay.unit} after a warm-up of {self.decay_start:g}, in a schedule "
                f"that ends after {self.decay.value:g}",
                rule="warm-up and decay fit into the schedule",
                fix="lower --lr-wsd-decay-iters or the warm-up",
            )
        return self.decay.value - length

    def _convert(self, length: Length, unit: str) -> float:
        """The same point of the run in another unit."""
        if length.unit == unit:
            return length.value
        if length.unit == "iters":
            samples: float = self.batch_size.samples_at(round(length.value))
        else:
            samples = self.batch_size.samples_of(length.value) if length.unit == "tokens" else length.value
        if unit == "iters":
            return self.batch_size.step_at(round(samples))
        return self.batch_size.tokens_at(samples) if unit == "tokens" else samples
