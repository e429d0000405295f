"""Strips cover all rows once, and stay small on a CPU."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.ops.strips import CPU_ELEMENTS, row_strips


@given(st.integers(0, 500), st.sampled_from([0, 1, 700, CPU_ELEMENTS // 3, CPU_ELEMENTS, 3 * CPU_ELEMENTS]))
def test_rows_are_covered_once_in_order(rows, row_numel):
    strips = list(row_strips(rows, row_numel, torch.device("cpu")))
    assert [row for strip in strips for row in range(strip.start, strip.stop)] == list(range(rows))
    assert all((s.stop - s.start) * row_numel <= CPU_ELEMENTS or s.stop - s.start == 1 for s in strips)


def test_a_gpu_takes_all_at_once():
    assert list(row_strips(10**6, 10**4, torch.device("cuda"))) == [slice(0, 10**6)]
    assert list(row_strips(0, 8, torch.device("cuda"))) == []
