"""Samples left out: those asked for and those on record."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import DataConfig
from steel_megatron.training.startup.skipping import recorded_ranges, take_up_skips


def facts(consumed: int, recorded: list[str] | None = None) -> dict[str, Any]:
    return {"state": {"consumed_samples": consumed}, "config": {"data": {"skip_samples": recorded}}}


def test_a_run_that_starts_has_what_is_asked_for() -> None:
    data, place = take_up_skips(DataConfig(skip_samples=("20:30", "10:20")), None)
    assert (data.skip_samples, place) == (("10:30",), 0)


def test_a_checkpoints_ranges_are_kept_and_counted() -> None:
    data, place = take_up_skips(DataConfig(skip_samples=("40:50",)), facts(20, ["10:15"]))
    assert (data.skip_samples, place) == (("10:15", "40:50"), 25)
    assert recorded_ranges({"config": {}}) == ()
    assert recorded_ranges(facts(0)) == ()


@pytest.mark.parametrize(
    ("asked", "left_out", "late"),
    [("5:8", (), True), ("15:30", ("20:30",), True), ("20:30", ("20:30",), False)],
)
def test_what_is_used_already_cannot_be_left_out_and_is_told(asked, left_out, late, caplog) -> None:
    data, _ = take_up_skips(DataConfig(skip_samples=(asked,)), facts(20))
    assert data.skip_samples == left_out
    assert (f"--skip-samples {asked}" in caplog.text) == late


def test_the_same_range_again_is_not_late(caplog) -> None:
    data, _ = take_up_skips(DataConfig(skip_samples=("10:15",)), facts(20, ["10:15"]))
    assert data.skip_samples == ("10:15",)
    assert not caplog.records
