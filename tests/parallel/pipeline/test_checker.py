"""The checker sees what is wrong with a schedule."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steel_megatron.parallel.pipeline.actions import Action, Kind, Schedule, ScheduleError, owners
from steel_megatron.parallel.pipeline.checker import check_schedule
from steel_megatron.parallel.pipeline.passes import Costs
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.parallel.pipeline.timeline import simulate

F, B, W = Kind.FORWARD, Kind.BACKWARD, Kind.WEIGHT_GRADIENT
SA, RA, SG, RG = Kind.SEND_ACTIVATION, Kind.RECEIVE_ACTIVATION, Kind.SEND_GRADIENT, Kind.RECEIVE_GRADIENT


def changed(schedule: Schedule, rank: int, actions: Any, **fields: Any) -> Schedule:
    """The schedule with another list for one rank."""
    lists = list(schedule.actions)
    lists[rank] = tuple(actions)
    return dataclasses.replace(schedule, actions=tuple(lists), **fields)


@st.composite
def schedule_and_place(draw: Any) -> tuple[Schedule, int, int]:
    name = draw(st.sampled_from(["gpipe", "1f1b", "interleaved", "forward"]))
    chunks = 1 if name == "1f1b" else draw(st.integers(1, 3))
    schedule = build_schedule(name, draw(st.integers(1, 5)), draw(st.integers(1, 6)), chunks)
    rank = draw(st.integers(0, schedule.ranks - 1))
    return schedule, rank, draw(st.integers(0, len(schedule.actions[rank]) - 1))


@given(schedule_and_place())
def test_a_missing_action_is_seen(place):
    schedule, rank, number = place
    actions = schedule.actions[rank]
    assume(sum(map(len, schedule.actions)) > 2)  # one F and one B: without B it is a whole schedule for evaluation
    with pytest.raises(ScheduleError):
        check_schedule(changed(schedule, rank, actions[:number] + actions[number + 1 :]))


@given(schedule_and_place(), st.integers(0, 100))
def test_an_action_too_many_is_seen(place, where):
    schedule, rank, number = place
    actions = schedule.actions[rank]
    where %= len(actions) + 1
    with pytest.raises(ScheduleError):
        check_schedule(changed(schedule, rank, (*actions[:where], actions[number], *actions[where:])))


@given(schedule_and_place(), st.integers(1, 3))
def test_another_micro_batch_chunk_or_peer_is_seen(place, by):
    schedule, rank, number = place
    action = schedule.actions[rank][number]
    changes = {"micro_batch": action.micro_batch + by, "chunk": action.chunk + by}
    if action.kind.communicates and schedule.ranks > 2:
        changes["peer"] = next(r for r in range(schedule.ranks) if r not in (rank, action.peer))
        changes["round"] = action.round + 1000 * by
    for field, value in changes.items():
        if field == "chunk" and value >= schedule.chunks:
            continue
        actions = list(schedule.actions[rank])
        actions[number] = action._replace(**{field: value})
        with pytest.raises(ScheduleError):
            check_schedule(changed(schedule, rank, actions))


@given(schedule_and_place())
def test_what_passes_after_a_swap_really_runs(place):
    """Two neighbours in another order: either that is seen, or the schedule comes to its end on paper."""
    schedule, rank, number = place
    actions = list(schedule.actions[rank])
    if number + 1 == len(actions):
        return
    actions[number : number + 2] = reversed(actions[number : number + 2])
    swapped = changed(schedule, rank, actions, peak_live=(1000,) * schedule.ranks)
    try:
        check_schedule(swapped)
    except ScheduleError:
        return
    assert simulate(swapped, Costs.uniform(swapped.stages, transfer=0.1)).length > 0


def two_ranks(first: list[Action], second: list[Action], **fields: Any) -> Schedule:
    values = {"name": "made up", "micro_batches": 2, "placement": ((0,), (1,)), "peak_live": (2, 2)}
    return Schedule(actions=(tuple(first), tuple(second)), **{**values, **fields})


def test_a_deadlock_is_seen():
    """Both ranks send before they receive: harmless as one batch of one round, deadly one by one."""
    first = [
        *[Action(F, 0, 0), Action(SA, 0, 0, 1, 0), Action(F, 0, 1)],
        *[Action(SA, 0, 1, 1, 1), Action(RG, 0, 0, 1, 1)],
        *[Action(B, 0, 0), Action(RG, 0, 1, 1, 2), Action(B, 0, 1)],
    ]
    second = [
        *[Action(RA, 0, 0, 0, 0), Action(F, 0, 0), Action(B, 0, 0)],
        *[Action(RA, 0, 1, 0, 1), Action(SG, 0, 0, 0, 1)],
        *[Action(F, 0, 1), Action(B, 0, 1), Action(SG, 0, 1, 0, 2)],
    ]
    check_schedule(two_ranks(first, second))
    second[3:5] = reversed(second[3:5])
    with pytest.raises(ScheduleError, match="deadlock"):
        check_schedule(two_ranks(first, second))


def test_rounds_that_go_back_are_seen():
    schedule = build_schedule("1f1b", 2, 2)
    swap = {0: 1, 1: 0}
    lists = [[a._replace(round=swap.get(a.round, a.round)) for a in row] for row in schedule.actions]
    with pytest.raises(ScheduleError, match="do not ascend"):
        check_schedule(dataclasses.replace(schedule, actions=tuple(map(tuple, lists))))


def test_memory_above_the_promise_is_seen():
    schedule = build_schedule("1f1b", 3, 5)
    with pytest.raises(ScheduleError, match="rank 1 keeps 2 graphs at one time, not 1"):
        check_schedule(dataclasses.replace(schedule, peak_live=(3, 1, 1)))


def test_a_split_backward_keeps_its_graph_until_the_weight_gradient():
    actions = [Action(kind, 0, i) for i in (0, 1) for kind in (F, B)] + [Action(W, 0, 0), Action(W, 0, 1)]
    split = Schedule("split", 2, ((0,),), (tuple(actions),), (2,))
    assert check_schedule(split).live == (2,)
    with pytest.raises(ScheduleError, match=r"W.*without what it needs"):
        check_schedule(changed(split, 0, [actions[4], *actions[:4], actions[5]]))
    with pytest.raises(ScheduleError, match=r"W.* 0 times, not 1"):
        check_schedule(changed(split, 0, actions[:-1]))


def test_a_placement_gives_each_stage_one_place():
    for placement in (((0,), (0,)), ((0, 1), (2,)), ((0,), (2,))):
        with pytest.raises(ScheduleError, match="does not give each"):
            owners(placement)
