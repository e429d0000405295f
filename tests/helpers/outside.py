"""What a user might bring along: given by name, as ``helpers.outside:mish``."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from steel_megatron.optim.decay import Moment


def mish(x: Tensor) -> Tensor:
    """Misra, 2019."""
    return x * torch.tanh(F.softplus(x))


def softmax(x: Tensor) -> Tensor:
    """No activation: what it gives for one element depends on the others."""
    return torch.softmax(x, -1)


def detached(x: Tensor) -> Tensor:
    return x.detach()


def failing(x: Tensor) -> Tensor:
    raise RuntimeError("not today")


def cycle(at: Moment, *, period: int = 10, floor: float = 0.0) -> float:
    """A cosine that begins anew every so many steps."""
    return floor + at.between(0.5 * (1 + math.cos(math.pi * (at.step % period) / period)))


def upset(at: Moment) -> float:
    """Fails at the end of the run."""
    return 1.0 / (1.0 - at.t)
