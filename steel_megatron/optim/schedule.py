"""The learning rate: a pure function of where the run stands.

A step's rate belongs to the position x at its end, so that the first step of a warm-up of w steps has lr/w, not 0, and
the last step of the decay has min-lr. With w the warm-up's end and d the decay's end, t = (x - w) / (d - w):

    x <= w                 lr_warmup_init + (lr - lr_warmup_init) x / w
    constant               lr
    linear                 min + (lr - min) (1 - t)
    cosine                 min + (lr - min) (1 + cos(pi t)) / 2          Loshchilov and Hutter, 2017
    inverse-square-root    max(min, lr sqrt(w / x))                      Vaswani et al., 2017
    WSD                    lr until the last stretch, over which it falls to min with t counted there:
                           linear, cosine as above, or 1-sqrt: min + (lr - min) (1 - sqrt(t))   Hägele et al., 2024
    x >= d                 min

Positions are steps, samples or tokens, as the lengths were given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from steel_megatron.config import ConfigError, OptimizerConfig, TrainingConfig
from steel_megatron.optim.batch_size import BatchSize


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
        ConfigError: the warm-up, or WSD's decay, does not fit into the decay length.
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
        self.wsd_start = self._wsd_start() if optimizer.lr_decay_style == "WSD" else 0.0

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
        return self._after_warmup(min(max(position[self.decay.unit], self.decay_start), self.decay.value))

    def _after_warmup(self, x: float) -> float:
        config, style = self.config, self.config.lr_decay_style
        if style == "constant":
            return config.lr
        if style == "inverse-square-root":
            # Without a warm-up the first step has the full rate.
            origin = max(self.decay_start, self._convert(Length(1, "iters"), self.decay.unit))
            return max(config.min_lr, config.lr * math.sqrt(origin / max(x, origin)))
        if style == "WSD":
            if x <= self.wsd_start:
                return config.lr
            t = (x - self.wsd_start) / (self.decay.value - self.wsd_start)
            shape = config.lr_wsd_decay_style
        else:
            t = (x - self.decay_start) / (self.decay.value - self.decay_start)
            shape = style
        left = {"linear": 1.0 - t, "cosine": 0.5 * (1.0 + math.cos(math.pi * t)), "1-sqrt": 1.0 - math.sqrt(t)}
        return config.min_lr + (config.lr - config.min_lr) * left[shape]

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

    def _wsd_start(self) -> float:
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
