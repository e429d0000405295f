"""Sends and receives between the passes."""

from __future__ import annotations

import pytest

from steel_megatron.parallel.pipeline.actions import Action, Kind, ScheduleError, loop_placement
from steel_megatron.parallel.pipeline.transfers import with_transfers


def passes(letters: str) -> list[Action]:
    counts: dict[str, int] = {}
    order = []
    for letter in letters:
        order.append(Action(Kind(letter), 0, counts.setdefault(letter, 0)))
        counts[letter] += 1
    return order


def letters(actions) -> str:
    return " ".join(action.kind.value for action in actions)


def test_a_tensor_leaves_behind_its_pass_and_comes_before_the_one_that_needs_it() -> None:
    first, last = with_transfers([passes("FB"), passes("FB")], loop_placement(2, 1))
    assert letters(first) == "F SA RG B"
    assert letters(last) == "RA F B SG"


def test_both_ends_of_a_transfer_have_it_in_one_round_and_rounds_ascend() -> None:
    ranks = with_transfers([passes("FFFBBB"), passes("FFBFBB"), passes("FBFBFB")], loop_placement(3, 1))
    ends: dict[tuple[int, int, int, str], list[int]] = {}
    for rank, actions in enumerate(ranks):
        rounds = [action.round for action in actions if action.kind.communicates]
        assert rounds == sorted(rounds)
        for action in actions:
            if action.kind.communicates:
                pair = (rank, action.peer) if action.kind.sends else (action.peer, rank)
                ends.setdefault((*pair, action.micro_batch, action.kind.value[1]), []).append(action.round)
    assert len(ends) == 2 * 2 * 3
    assert all(len(both) == 2 and both[0] == both[1] for both in ends.values())


def test_one_rank_sends_nothing_and_a_deadlock_is_refused() -> None:
    assert with_transfers([passes("FB")], loop_placement(1, 1)) == (tuple(passes("FB")),)
    with pytest.raises(ScheduleError, match="wait for one another"):
        with_transfers([passes("BF"), passes("FB")], loop_placement(2, 1))
