"""Shapes of the learning rate behind the warm-up: pure functions of where the run stands.

With w the warm-up's end, d the decay's end and x the end of the step, t = (x - w) / (d - w), up to d; then min:

    constant               lr
    linear                 min + (lr - min) (1 - t)
    cosine                 min + (lr - min) (1 + cos(pi t)) / 2          Loshchilov and Hutter, 2017
    inverse-square-root    max(min, lr sqrt(w / x))                      Vaswani et al., 2017
    WSD                    lr until the last stretch, over which it falls to min with t counted there:
                           linear, cosine as above, or 1-sqrt: min + (lr - min) (1 - sqrt(t))   Hägele et al., 2024
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steel_megatron.optim.schedule import LearningRate


@dataclass(frozen=True)
class Moment:
    """The end of a step behind the warm-up.

    Args:
        t: share of the way from the warm-up's end to the decay's, 0 to 1.
        x: the same in the unit of the decay's length, from the run's first step on.
        step, samples, tokens: of the run, the step included.
        lr, min_lr: the highest rate and that at the end, as configured.
        schedule: of the run, for what else a shape needs.
    """

    t: float
    x: float
    step: int
    samples: int
    tokens: int
    lr: float
    min_lr: float
    schedule: LearningRate

    def between(self, share: float) -> float:
        """The rate so far from the lowest to the highest."""
        return self.min_lr + (self.lr - self.min_lr) * share


def constant(at: Moment) -> float:
    return at.lr


def linear(at: Moment) -> float:
    return at.between(_LEFT["linear"](at.t))


def cosine(at: Moment) -> float:
    return at.between(_LEFT["cosine"](at.t))


def inverse_square_root(at: Moment) -> float:
    """Without a warm-up the first step has the full rate."""
    origin = max(at.schedule.decay_start, at.schedule.first_step)
    return max(at.min_lr, at.lr * math.sqrt(origin / max(at.x, origin)))


def wsd(at: Moment) -> float:
    """Warm-up, stable, decay."""
    start = at.schedule.wsd_start
    if at.x <= start:
        return at.lr
    return at.between(_LEFT[at.schedule.config.lr_wsd_decay_style]((at.x - start) / (at.schedule.decay.value - start)))


# What is left of the way down, of what has passed of it.
_LEFT = {
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
    "1-sqrt": lambda t: 1.0 - math.sqrt(t),
}
