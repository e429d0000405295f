"""When passes run if no message waits."""

from __future__ import annotations

import pytest

from steel_megatron.parallel.pipeline.actions import Action, Kind, ScheduleError, loop_placement
from steel_megatron.parallel.pipeline.passes import Costs, needed_pass, pass_times

F, B, W = Kind.FORWARD, Kind.BACKWARD, Kind.WEIGHT_GRADIENT


def test_what_a_pass_needs() -> None:
    assert needed_pass(F, 0, 3, 2) is None
    assert needed_pass(F, 1, 3, 2) == (F, 0, 3)
    assert needed_pass(B, 1, 3, 2) == (F, 1, 3)
    assert needed_pass(B, 0, 3, 2) == (B, 1, 3)
    assert needed_pass(W, 0, 3, 2) == (B, 0, 3)


def test_a_rank_waits_for_its_peer_and_the_transfer() -> None:
    orders = [[Action(F, 0, 0), Action(B, 0, 0)]] * 2
    assert pass_times(orders, loop_placement(2, 1), Costs.uniform(2)) == [[(0, 1), (4, 6)], [(1, 2), (2, 4)]]
    slow = pass_times(orders, loop_placement(2, 1), Costs.uniform(2, transfer=10))
    assert slow == [[(0, 1), (24, 26)], [(11, 12), (12, 14)]]


def test_chunks_of_one_rank_hand_over_without_a_transfer() -> None:
    order = [[Action(F, 0, 0), Action(F, 1, 0), Action(B, 1, 0), Action(B, 0, 0)]]
    times = pass_times(order, loop_placement(1, 2), Costs.uniform(2, transfer=10))
    assert times == [[(0, 1), (1, 2), (2, 4), (4, 6)]]


def test_passes_that_wait_for_one_another_are_named() -> None:
    with pytest.raises(ScheduleError, match=r"rank 0 at B\(chunk 0, micro-batch 0\)"):
        pass_times([[Action(B, 0, 0), Action(F, 0, 0)]], loop_placement(1, 1), Costs.uniform(1))
