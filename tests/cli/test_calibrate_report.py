"""What steel clean --calibrate prints."""

from __future__ import annotations

import numpy as np

from steel_megatron.cli.calibrate_report import calibration_table
from steel_megatron.corpus.cleaning.calibrate import Calibration, Measured
from steel_megatron.corpus.cleaning.recipe import Recipe


def test_a_line_per_filter_and_per_source() -> None:
    values = np.arange(1.0, 101.0)
    measured = Measured(
        *(0, "text_length_filter", "text_len", values, ("min_len", "max_len")),
        *((51, None), (2, None), values < 51, values < 2),
    )
    found = Calibration(Recipe("r", ()), ["web"] * 60 + [""] * 40, [measured], unread=3)
    head, line, *sources = calibration_table(found).splitlines()
    assert head.split()[:3] == ["filter", "1%", "5%"]
    assert line.endswith("min_len 51 (50.0%) → min_len 2 (1.0%)")
    assert "50.5" in line
    assert sources == [
        "source not said: 40 of 40 kept; by the proposed limits 40",
        "source web: 10 of 60 kept; by the proposed limits 59",
        "all sources: 50 of 100 kept; by the proposed limits 99",
        "3 records gave no text",
    ]
