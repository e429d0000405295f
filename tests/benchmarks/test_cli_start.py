"""The table of the commands' start times, and that a program that fails is not timed."""

from __future__ import annotations

import cli_start
import pytest


def test_a_row_is_of_medians_and_tells_what_is_above_doing_nothing() -> None:
    found = cli_start.table({"nothing": [(0.1, 0.02), (9.0, 0.01), (0.2, 0.03)], "more": [(1.0, 0.5)]})
    assert found.splitlines()[2:] == ["| nothing | 0.20 | 0.02 | 0.00 |", "| more | 1.00 | 0.50 | 0.48 |"]


def test_time_of_a_process_is_its_own() -> None:
    wall, cpu = cli_start.seconds(["-c", "import time; time.sleep(0.2)"])
    assert wall > 0.2
    assert cpu < wall


def test_a_program_that_fails_is_told() -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        cli_start.seconds(["-c", "raise SystemExit(3)"])
