"""Every built-in schedule, for every small pipeline: it runs, keeps its memory, and is as fast as promised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError
from steel_megatron.config.parallel import PIPELINE_SCHEDULES
from steel_megatron.parallel.pipeline.actions import Kind, Schedule, loop_placement, owners
from steel_megatron.parallel.pipeline.checker import check_schedule
from steel_megatron.parallel.pipeline.passes import Costs
from steel_megatron.parallel.pipeline.schedules import (
    Recipe,
    build_schedule,
    gpipe_order,
    gpipe_peak,
    micro_batch_groups,
)
from steel_megatron.parallel.pipeline.timeline import simulate

NAMES = [*PIPELINE_SCHEDULES.shipped, "forward"]


def check(name: str, p: int, m: int, v: int) -> Schedule:
    """The properties that hold at any size."""
    schedule = build_schedule(name, p, m, v)
    peaks = check_schedule(schedule)
    assert peaks.live == schedule.peak_live, "the promise is kept, and not larger than needed"
    if name == "1f1b":
        assert max(peaks.waiting) <= 2
    if name in ("interleaved", "forward"):
        assert max(peaks.waiting) <= max(4, *micro_batch_groups(p, m))
    for row in schedule.actions:
        for chunk in range(v):
            backwards = [a.micro_batch for a in row if a.kind is Kind.BACKWARD and a.chunk == chunk]
            assert backwards == sorted(backwards), "gradients add up in one order, whatever the schedule"
    return schedule


@pytest.mark.parametrize("v", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_every_small_pipeline(name, v):
    if name == "1f1b" and v > 1:
        with pytest.raises(ConfigError, match="1f1b with"):
            build_schedule(name, 2, 4, v)
        return
    for p in range(1, 9):
        for m in range(1, 17):
            check(name, p, m, v)


@given(name=st.sampled_from(NAMES), p=st.integers(1, 12), m=st.integers(1, 40), v=st.integers(1, 5))
def test_larger_pipelines(name, p, m, v):
    check(name, p, m, 1 if name == "1f1b" else v)


@pytest.mark.parametrize(
    ("name", "v"), [("gpipe", 1), ("gpipe", 3), ("1f1b", 1), ("interleaved", 1), ("interleaved", 3)]
)
def test_the_bubble_is_the_one_in_the_books(name, v):
    """(p - 1) / v of a rank's time per micro-batch, whether or not p divides m."""
    for p in range(1, 7):
        for m in range(p, 3 * p + 1):
            timeline = simulate(build_schedule(name, p, m, v), Costs.uniform(p * v, forward=1, backward=2))
            assert timeline.length == 3 * m * v + 3 * (p - 1)
            assert timeline.bubble == pytest.approx((p - 1) / (m * v + p - 1))


def test_interleaving_costs_no_more_memory_than_the_whole_groups_would():
    for p in range(1, 9):
        for m in range(p, 40):
            largest = max(micro_batch_groups(p, m))
            assert largest <= p + -(-(m % p) // (m // p))
            assert sum(micro_batch_groups(p, m)) == m


def test_one_chunk_interleaved_is_1f1b():
    for m in (1, 4, 9):
        assert build_schedule("interleaved", 4, m, 1).actions == build_schedule("1f1b", 4, m, 1).actions


def test_1f1b_by_hand():
    schedule = build_schedule("1f1b", 2, 3)
    lists = [" ".join(f"{a.kind.value}{a.micro_batch}" for a in row) for row in schedule.actions]
    assert lists[0] == "F0 SA0 F1 SA1 RG0 B0 RG1 F2 SA2 B1 RG2 B2"
    assert lists[1] == "RA0 RA1 F0 B0 SG0 F1 B1 SG1 RA2 F2 B2 SG2"


def test_where_the_chunks_are():
    assert loop_placement(3, 2) == ((0, 3), (1, 4), (2, 5))
    assert owners(loop_placement(3, 2)) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("zigzag", 2, 2, 1), "one of gpipe, 1f1b, interleaved"),
        (("1f1b", 0, 2, 1), "at least 1"),
        (("gpipe", 2, 0, 1), "at least 1"),
        (("1f1b", 2, 4, 2), "use interleaved"),
    ],
)
def test_what_no_schedule_can_do(arguments, words):
    with pytest.raises(ConfigError, match=words):
        build_schedule(*arguments)


GREEDY = Recipe(gpipe_order, lambda p, m, v, r: 1)
LOST = Recipe(lambda p, m, v, r: gpipe_order(p, m, v, r)[:-1], gpipe_peak)


def test_a_schedule_from_outside_is_gone_through_before_it_is_run():
    given = "steel_megatron.parallel.pipeline.schedules:GPIPE"
    assert build_schedule(given, 2, 4).actions == build_schedule("gpipe", 2, 4).actions
    for wrong, said in ((f"{__file__}:GREEDY", "keeps"), (f"{__file__}:LOST", "micro-batch|times|once")):
        with pytest.raises(ConfigError, match=said):
            build_schedule(wrong, 2, 4)
    with pytest.raises(ConfigError, match="it is a Recipe"):
        build_schedule("math:pi", 2, 4)
