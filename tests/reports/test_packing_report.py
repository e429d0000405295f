"""What packing cuts and pads, against counting token by token."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.megatron_files import write_megatron
from steel_megatron.reports import packing_report as report_module
from steel_megatron.reports.packing_report import packing_report, packing_text
from steel_megatron.tokens.indexed import IndexedDataset

docs = st.lists(st.lists(st.lists(st.integers(0, 2), max_size=3), max_size=2), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(1, 12), st.integers(1, 5))
def test_what_packing_cuts_and_pads(lengths: list[int], seq_length: int, block: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_module, "BLOCK", block)
        prefix = write_megatron(f"{folder}/data", [[[1] * n] if n else [] for n in lengths], "uint8")
        report = packing_report(IndexedDataset(prefix), seq_length)
        again = packing_report(IndexedDataset(prefix), seq_length)
    starts = np.cumsum([0, *lengths]).tolist()
    cut = 0
    for start, length in zip(starts, lengths, strict=False):
        if 0 < length <= seq_length + 1:
            windows = [
                k
                for k in range(sum(lengths) + 1)
                if k * seq_length <= start and start + length <= k * seq_length + seq_length + 1
            ]
            cut += not windows
    assert report.cut_though_fitting == cut
    assert report.fitting == sum(length <= seq_length + 1 for length in lengths)
    assert report.plain_samples == max(sum(lengths) - 1, 0) // seq_length
    assert 0 <= report.padding < 1
    assert 0 <= report.counted <= 1
    assert (again.best_fit_samples, again.padding) == (report.best_fit_samples, report.padding)
    assert "padding" in packing_text(report)
