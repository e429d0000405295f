"""The timeline, and what the placing of messages costs."""

from __future__ import annotations

import dataclasses
import random

import pytest

from steel_megatron.parallel.pipeline.actions import Action, Kind, Schedule, ScheduleError
from steel_megatron.parallel.pipeline.passes import Costs, pass_times
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.parallel.pipeline.timeline import simulate
from steel_megatron.parallel.pipeline.transfers import with_transfers


def bound(schedule: Schedule, costs: Costs) -> float:
    """The time if no message waited for another and every receive were posted from the start."""
    orders = [[action for action in row if not action.kind.communicates] for row in schedule.actions]
    return max(row[-1][1] for row in pass_times(orders, schedule.placement, costs))


@pytest.mark.parametrize(
    ("name", "v"), [("gpipe", 1), ("gpipe", 2), ("1f1b", 1), ("interleaved", 2), ("interleaved", 4)]
)
@pytest.mark.parametrize(("p", "m"), [(2, 8), (4, 16), (8, 20)])
def test_one_queue_of_messages_costs_next_to_nothing(name, v, p, m):
    """NCCL's order of batches against the bound, for passes and messages that take other times than was assumed."""
    schedule = build_schedule(name, p, m, v)
    for forward, backward, transfer in [(1, 2, 0), (1, 1, 0.1), (1, 3, 0.1), (1, 2.2, 0.02), (1, 2, 0.25)]:
        costs = Costs.uniform(p * v, forward, backward, transfer=transfer)
        assert simulate(schedule, costs).length <= 1.001 * bound(schedule, costs)


def test_unequal_stages_wait_a_little_in_the_queue():
    random.seed(0)
    for name, v in (("1f1b", 1), ("interleaved", 2)):
        for _ in range(10):
            forward = tuple(random.uniform(0.8, 1.2) for _ in range(8 * v))
            costs = Costs(forward, tuple(2 * time for time in forward), (0.0,) * (8 * v), transfer=0.02)
            schedule = build_schedule(name, 8, 24, v)
            assert simulate(schedule, costs).length <= 1.05 * bound(schedule, costs)


def test_times_by_hand():
    timeline = simulate(build_schedule("1f1b", 2, 2), Costs.uniform(2, forward=1, backward=2, transfer=0.5))
    spans = [[(f"{s.action.kind.value}{s.action.micro_batch}", s.start, s.end) for s in row] for row in timeline.spans]
    assert spans[0] == [("F0", 0, 1), ("F1", 1, 2), ("B0", 5, 7), ("B1", 8.0, 10.0)]
    assert spans[1] == [("F0", 1.5, 2.5), ("B0", 2.5, 4.5), ("F1", 4.5, 5.5), ("B1", 5.5, 7.5)]
    assert timeline.length == 10
    assert timeline.busy(0) == timeline.busy(1) == 6
    assert timeline.bubble == pytest.approx(0.4)


def test_the_slowest_stage_sets_the_pace():
    costs = Costs((1, 1, 2, 1), (2, 2, 4, 2), (0,) * 4)
    timeline = simulate(build_schedule("1f1b", 4, 40), costs)
    assert 40 * 6 < timeline.length < 40 * 6 + 4 * 6
    assert timeline.busy(2) == 240


def test_split_backward_fills_the_bubble():
    """Weight gradients put off to the end of 1F1B run where a rank would wait for the gradients of the next."""
    p, m = 4, 8
    orders = []
    for r, row in enumerate(build_schedule("1f1b", p, m).actions):
        order: list[Action] = []
        waiting: list[Action] = []
        for action in (action for action in row if not action.kind.communicates):
            order.append(action)
            if action.kind is Kind.BACKWARD:
                waiting.append(action._replace(kind=Kind.WEIGHT_GRADIENT))
                if len(waiting) > r:
                    order.append(waiting.pop(0))
        orders.append(order + waiting)
    placement = build_schedule("1f1b", p, m).placement
    split = Schedule("split", m, placement, with_transfers(orders, placement), (m,) * p)
    whole = simulate(build_schedule("1f1b", p, m), Costs.uniform(p, 1, 2))
    halves = simulate(split, Costs.uniform(p, 1, 1, weight_gradient=1))
    assert split.splits_backward
    assert halves.length < whole.length
    assert halves.busy(0) == whole.busy(0)


def test_lists_that_never_end_are_named():
    schedule = build_schedule("1f1b", 2, 2)
    lists = [list(row) for row in schedule.actions]
    lists[0][0], lists[0][1] = lists[0][1], lists[0][0]
    lists[1][0], lists[1][1] = lists[1][1], lists[1][0]
    backwards = [Action(Kind.BACKWARD, 0, 0), Action(Kind.FORWARD, 0, 0)]
    with pytest.raises(ScheduleError, match="wait for one another: rank 0 at B"):
        with_transfers([backwards, backwards], schedule.placement)
    # Both ranks receive, each in a round of its own, before they send what the other waits for.
    stuck = dataclasses.replace(
        schedule,
        micro_batches=1,
        actions=(
            (
                Action(Kind.RECEIVE_GRADIENT, 0, 0, 1, 0),
                Action(Kind.FORWARD, 0, 0),
                Action(Kind.SEND_ACTIVATION, 0, 0, 1, 1),
                Action(Kind.BACKWARD, 0, 0),
            ),
            (
                Action(Kind.RECEIVE_ACTIVATION, 0, 0, 0, 1),
                Action(Kind.FORWARD, 0, 0),
                Action(Kind.BACKWARD, 0, 0),
                Action(Kind.SEND_GRADIENT, 0, 0, 0, 0),
            ),
        ),
    )
    with pytest.raises(ScheduleError, match="never comes to 3 passes"):
        simulate(stuck, Costs.uniform(2))
