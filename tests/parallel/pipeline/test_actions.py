"""What schedules are made of: placements, what a message moves, and what is done at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.parallel.pipeline.actions import (
    Action,
    Kind,
    ScheduleError,
    Transfer,
    loop_placement,
    owners,
    steps,
    transfer_of,
)


@given(st.integers(1, 8), st.integers(1, 5))
def test_owners_turn_a_placement_round(ranks, chunks):
    placement = loop_placement(ranks, chunks)
    for stage, (rank, chunk) in enumerate(owners(placement)):
        assert placement[rank][chunk] == stage
        assert rank == stage % ranks  # a chunk's output always goes to the next rank


@pytest.mark.parametrize("placement", [((0, 1), (1, 2)), ((0, 2), (1,)), ((1, 2), (3, 4))])
def test_a_stage_twice_or_nowhere_is_refused(placement):
    with pytest.raises(ScheduleError, match="one rank and chunk"):
        owners(placement)


@pytest.mark.parametrize(
    ("sender", "receiver", "send", "receive", "chunks", "kind", "stage"),
    [
        (0, 1, Kind.SEND_ACTIVATION, Kind.RECEIVE_ACTIVATION, (0, 0), Kind.FORWARD, 0),
        (1, 0, Kind.SEND_ACTIVATION, Kind.RECEIVE_ACTIVATION, (0, 1), Kind.FORWARD, 1),  # round the corner
        (0, 1, Kind.SEND_GRADIENT, Kind.RECEIVE_GRADIENT, (1, 0), Kind.BACKWARD, 2),
    ],
)
def test_both_ends_name_the_same_transfer(sender, receiver, send, receive, chunks, kind, stage):
    placement = loop_placement(2, 2)
    ends = [
        transfer_of(placement, sender, Action(send, chunks[0], 5, receiver, 3)),
        transfer_of(placement, receiver, Action(receive, chunks[1], 5, sender, 3)),
    ]
    assert ends == [Transfer(sender, receiver, kind, stage, 5)] * 2


def test_messages_of_one_round_go_together_and_passes_alone():
    send = Action(Kind.SEND_ACTIVATION, 0, 0, 1, 0)
    receive = Action(Kind.RECEIVE_GRADIENT, 0, 0, 1, 0)
    later = Action(Kind.SEND_ACTIVATION, 0, 1, 1, 1)
    passes = [Action(Kind.FORWARD, 0, 0), Action(Kind.FORWARD, 0, 1)]
    assert steps([*passes, send, receive, later]) == [(passes[0],), (passes[1],), (send, receive), (later,)]


def test_an_action_says_where_it_sends():
    assert str(Action(Kind.SEND_GRADIENT, 1, 2, 3, 4)) == "SG(chunk 1, micro-batch 2) to rank 3, round 4"
    assert str(Action(Kind.WEIGHT_GRADIENT, 1, 2)) == "W(chunk 1, micro-batch 2)"
