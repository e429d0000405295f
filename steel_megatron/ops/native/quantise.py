"""Rounding to 8-bit floating point on a GPU: one pass for the largest magnitude, one for the rows and their transpose.

Shapes: T rows, C columns, both multiples of 16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steel_megatron.ops.native import library

E5M2 = torch.float8_e5m2
ALIGNMENT = 16  # bytes; the kernel reads as many at once


def fits(x_TC: Tensor) -> bool:
    """Whether the kernels take this tensor."""
    return library.fits(x_TC) and x_TC.dim() == 2 and not any(size % 16 for size in x_TC.shape)


@torch.library.custom_op("steel::largest_magnitude", mutates_args=())
def largest_magnitude(x: Tensor) -> Tensor:
    """max |x| as fp32 without dimensions; NaN if there is one."""
    x = x.contiguous()
    amax = x.new_zeros((), dtype=torch.float32)
    library.call("largest_magnitude", x, x, amax, x.numel())
    return amax


@torch.library.custom_op("steel::quantise", mutates_args=())
def quantise(
    x_TC: Tensor, amax: Tensor, dtype: torch.dtype, largest: float, smallest_amax: float, by_row: bool, by_column: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(x in ``dtype``, (T, C); its transpose, (C, T); scale): each of the first two is empty if it is not asked for."""
    x_TC = x_TC.contiguous()
    if x_TC.data_ptr() % ALIGNMENT:
        x_TC = x_TC.clone()
    rows, columns, scale = _empty(x_TC, dtype, by_row, by_column)
    library.call(
        "quantise",
        x_TC,
        x_TC,
        amax,
        largest,
        smallest_amax,
        int(dtype == E5M2),
        rows if by_row else None,
        columns if by_column else None,
        scale,
        *x_TC.shape,
    )
    return rows, columns, scale


def _empty(x_TC: Tensor, dtype: torch.dtype, by_row: bool, by_column: bool) -> tuple[Tensor, Tensor, Tensor]:
    rows = x_TC.new_empty(x_TC.shape if by_row else (0, 0), dtype=dtype)
    columns = x_TC.new_empty(x_TC.shape[::-1] if by_column else (0, 0), dtype=dtype)
    return rows, columns, x_TC.new_empty((), dtype=torch.float32)


largest_magnitude.register_fake(lambda x: x.new_empty((), dtype=torch.float32))
quantise.register_fake(lambda x, amax, dtype, largest, smallest, *asked: _empty(x, dtype, *asked))
