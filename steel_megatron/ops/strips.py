"""Row ranges for operations that work in fp32 on narrower tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch

# fp32 temporaries of this many elements (512 KB) stay in a core's cache, and the allocator hands the same
# memory out again instead of asking the kernel for fresh pages: several times faster than one large temporary.
CPU_ELEMENTS = 1 << 17


def row_strips(rows: int, row_numel: int, device: torch.device) -> Iterator[slice]:
    """Slices that cover ``rows`` rows of ``row_numel`` elements: cache-sized on a CPU, all at once on a GPU."""
    step = max(rows, 1) if device.type != "cpu" else max(CPU_ELEMENTS // max(row_numel, 1), 1)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
