"""Who is waited for, as told by what all ranks said of themselves."""

from __future__ import annotations

import time

import pytest

from steel_megatron.parallel.processes import operations
from steel_megatron.parallel.processes.operations import named_ranks
from steel_megatron.parallel.processes.stall import Sign, silent_ranks, stall_error

REDUCE = "all-reduce over dp (ranks 0, 2), step 7"


def sign(beat: int = 9, what: str = REDUCE, waiting: bool = True, ranks: tuple[int, ...] = (0, 2)) -> Sign:
    return Sign(beat, "12:00:00", "node1", 100, what, ranks, waiting, 61.0)


def test_a_rank_that_gives_no_new_sign_does_not_run():
    before = {0: sign(1), 1: sign(1), 2: sign(5)}
    after = {0: sign(4), 1: sign(4), 2: sign(5)}
    assert silent_ranks(4, before, after) == [2, 3]
    text = str(stall_error(0, 1.0, after, [2, 3]))
    assert (
        f"rank 2 on node1 (process 100) does not answer; at 12:00:00, the last time that it did, it was at {REDUCE}"
        in text
    )
    assert "; unfinished on rank 0: all_gather" in str(stall_error(0, 1.0, after, [2, 3], "all_gather"))
    assert "rank 3 has given no sign of life" in text
    assert f"waiting, since 61 s: ranks 0, 1 in {REDUCE}" in text
    assert "--distributed-timeout-minutes 1," in text


def test_a_rank_that_runs_elsewhere_is_named_with_what_it_did_last():
    signs = {0: sign(), 1: sign(waiting=False), 2: sign(what="all-gather over dp (ranks 0, 2), step 6", waiting=False)}
    text = str(stall_error(0, 0.5, signs, []))
    assert text.startswith(
        "rank 2 on node1 (process 100) runs, but has not come; its last operation, 61 s ago, was all-g"
    )
    assert "rank 1" not in text  # no part of this collective


def test_ranks_that_wait_in_different_collectives_are_both_named():
    text = str(stall_error(0, 0.5, {0: sign(), 2: sign(what="word of every rank about a checkpoint")}, []))
    assert text.startswith("rank 2 on node1 (process 100) waits elsewhere: in word of every rank about a checkpoint")
    assert f"rank 0 in {REDUCE}" in text


def test_an_operation_is_what_the_main_thread_came_to_last():
    operations.at("step 3")
    operation = operations.queued("all-reduce", "tp", (4, 5, 6, 7))
    assert str(operation) == "all-reduce over tp (ranks 4 to 7), step 3"
    assert not operations.current().waiting
    operations.wait_begins(operation)
    with pytest.raises(RuntimeError), operations.waiting("the end of the run"):
        raise RuntimeError
    assert operations.current().waiting  # what failed is what it is at
    operations.wait_ends()
    assert not operations.current().waiting
    again = Sign.loads(Sign.of(operations.current(), 3, "here", 1).dumps())
    assert (again.beat, again.what, again.ranks) == (3, "the end of the run, step 3", ())
    assert again.seconds < 60 <= time.monotonic() - (operation.since - 60)


def test_ranks_by_name():
    assert [named_ranks(ranks) for ranks in [(3,), (0, 1), (4, 5, 6), (0, 4, 8)]] == [
        "rank 3",
        "ranks 0, 1",
        "ranks 4 to 6",
        "ranks 0, 4, 8",
    ]
