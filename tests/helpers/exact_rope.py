"""RoPE as its definition has it."""

from __future__ import annotations

import torch
from torch import Tensor

from helpers.kernels import random


def angles(tables: int, length: int, half: int, device: str) -> tuple[Tensor, Tensor]:
    """Cosine and sine (tables, length, 1, half) of random angles, fp32."""
    turned = random((tables, length, 1, half), torch.float32, device, half)
    return turned.cos(), turned.sin()


def exact_rope(x_BSND: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """In the type of ``x``."""
    half = cosine.shape[-1]
    first, second, rest = x_BSND.split([half, half, x_BSND.shape[-1] - 2 * half], dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], dim=-1)
