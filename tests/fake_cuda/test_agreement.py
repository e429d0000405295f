"""Ranks whose messages fit together, and ranks whose do not."""

from __future__ import annotations

import dataclasses

import torch

from fake_cuda.agreement import disagreements
from fake_cuda.messages import Message

PAIR = (0, 1)
REDUCE = Message("all-reduce", PAIR, torch.float32, 8, 8)
GATHER = Message("all-gather", PAIR, torch.bfloat16, 8, 4)


def message(kind: str, peer: int, batch: int, elements: int = 4) -> Message:
    return Message(kind, PAIR, torch.bfloat16, elements, elements, peer, batch=batch)


def test_the_same_collectives_in_the_same_order() -> None:
    assert disagreements({0: [REDUCE, GATHER], 1: [REDUCE, GATHER]}) == []
    (error,) = disagreements({0: [REDUCE, GATHER], 1: [GATHER, REDUCE]})
    assert error == "rank 0 makes all-reduce of 8 float32 among (0, 1), rank 1 all-gather of 8 bfloat16 among (0, 1)"


def test_sizes_and_types() -> None:
    other = dataclasses.replace(REDUCE, elements=9, own=9)
    assert "8 float32" in disagreements({0: [REDUCE], 1: [other]})[0]
    assert "float16" in disagreements({0: [REDUCE], 1: [dataclasses.replace(REDUCE, dtype=torch.float16)]})[0]
    (first, second) = disagreements({rank: [dataclasses.replace(GATHER, own=3)] for rank in PAIR})
    assert first.endswith("2 parts of 3 elements")
    assert second.startswith("rank 1")


def test_a_rank_that_stops_early() -> None:
    (error,) = disagreements({0: [REDUCE, GATHER], 1: [REDUCE]})
    assert error.startswith("the ranks wait for one another: rank 0 at its message 1: all-gather of 8 bfloat16")
    assert error.endswith("rank 1 at its end")


def test_groups_that_wait_in_a_ring() -> None:
    groups = [(0, 1), (1, 2), (0, 2)]
    of = {group: Message("all-reduce", group, torch.float32, 1, 1) for group in groups}
    fine = {0: [of[0, 1], of[0, 2]], 1: [of[0, 1], of[1, 2]], 2: [of[1, 2], of[0, 2]]}
    assert disagreements(fine) == []
    ring = {0: [of[0, 1], of[0, 2]], 1: [of[1, 2], of[0, 1]], 2: [of[0, 2], of[1, 2]]}
    assert "wait for one another" in disagreements(ring)[0]


def test_sends_and_receives_pair_up() -> None:
    sends = {0: [message("send", 1, 1)], 1: [message("receive", 0, 1)]}
    assert disagreements(sends) == []
    both = {rank: [message("send", 1 - rank, 1), message("receive", 1 - rank, 1)] for rank in PAIR}
    assert disagreements(both) == []
    one_by_one = {rank: [message("send", 1 - rank, 1), message("receive", 1 - rank, 2)] for rank in PAIR}
    assert "wait for one another" in disagreements(one_by_one)[0]
    assert "wait for one another" in disagreements({0: [message("send", 1, 1)], 1: []})[0]
    wrong = {0: [message("send", 1, 1)], 1: [message("receive", 0, 1, elements=5)]}
    assert disagreements(wrong) == [
        "rank 0: send of 4 bfloat16 to 1 among (0, 1); rank 1: receive of 5 bfloat16 from 0 among (0, 1)"
    ]
