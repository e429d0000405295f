"""Stochastic rounding to bf16: up with the probability that makes the mean right.

The random bits of an element are a pure function of a key, the step, and the element's row and column in the whole
tensor: the same on every layout and after every resumption. The kernels compute the same (csrc/ops/rounding.h).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steel_megatron.ops.dropout import mixed, signed

_MASK = 0xFFFFFFFF
_ELEMENTS = 1 << 22  # at once: bounds the int64 temporaries


@dataclass(frozen=True)
class Place:
    """Where a block's elements stand in the tensor of its name; a vector is one row."""

    key: int  # of the tensor: 63 bits
    first_row: int
    first_column: int
    columns: int  # of the block

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """As the kernels take it."""
        return self.key, self.first_row, self.first_column, self.columns

    @classmethod
    def of(cls, name: str, seed: int, offset: Sequence[int], shape: Sequence[int]) -> Place:
        """The place of a block of ``shape`` at ``offset``; dimensions after the first are one."""
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
        key = int.from_bytes(digest, "little") >> 1
        if len(shape) == 1:
            return cls(key, 0, offset[0], max(shape[0], 1))
        if any(offset[2:]):
            raise ValueError(f"{name} is cut along dimension 2 or later, at {tuple(offset)}")
        inner = math.prod(shape[2:])
        return cls(key, offset[0], offset[1] * inner, max(shape[1] * inner, 1))


def random_bits(place: Place, step: int, count: int, device: torch.device) -> Tensor:
    """int64 (count,) in [0, 2^32): the bits of a block's elements."""
    rows = math.ceil(count / place.columns)
    keys = _row_keys(place, step, rows, device).unsqueeze(1)
    low, high = keys & _MASK, keys >> 32 & _MASK
    columns = torch.arange(place.first_column, place.first_column + place.columns, device=device)
    x = low + columns & _MASK
    x = (x ^ x >> 16) * 0x7FEB352D & _MASK ^ high
    x = (x ^ x >> 15) * 0x846CA68B & _MASK
    return (x ^ x >> 16).flatten()[:count]


def round_stochastically(values: Tensor, noise: Tensor) -> Tensor:
    """fp32 to bf16 by 16 random bits per element (int64, of the same shape)."""
    bits = values.view(torch.int32) + noise.to(torch.int32)
    rounded = (bits & ~0xFFFF).view(torch.float32).bfloat16()  # exact: the lower half is 0
    return torch.where(values.isnan(), torch.nan, rounded)


def store(target: Tensor, values: Tensor, place: Place, step: int, upper: bool) -> None:
    """Writes fp32 values into a block; stochastically rounded by half of the random bits if it is bf16."""
    if target.dtype == torch.float32:
        target.copy_(values)
        return
    target, values = target.view(-1), values.view(-1)
    rows = max(_ELEMENTS // place.columns, 1)
    for first in range(0, math.ceil(target.numel() / place.columns), rows):
        part = slice(first * place.columns, (first + rows) * place.columns)
        moved = dataclasses.replace(place, first_row=place.first_row + first)
        bits = random_bits(moved, step, target[part].numel(), target.device)
        target[part] = round_stochastically(values[part], bits >> 16 if upper else bits & 0xFFFF)


def _row_keys(place: Place, step: int, rows: int, device: torch.device) -> Tensor:
    """int64 (rows,), of which all 64 bits count; made on the device, so that the host need not wait to copy them."""
    start = torch.full((1,), signed(place.key + step * 0x9E3779B97F4A7C15), device=device)
    numbers = torch.arange(place.first_row, place.first_row + rows, device=device)
    return mixed(mixed(start) + numbers * signed(0xD1B54A32D192ED03))
