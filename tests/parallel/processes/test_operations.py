"""What a process says of what it is at."""

from __future__ import annotations

import pytest

from steel_megatron.parallel.processes import operations


@pytest.mark.parametrize(
    ("ranks", "words"),
    [((3,), "rank 3"), ((0, 1), "ranks 0, 1"), ((4, 5, 6), "ranks 4 to 6"), ((0, 4, 8), "ranks 0, 4, 8")],
)
def test_ranks_in_words(ranks, words):
    assert operations.named_ranks(ranks) == words


@pytest.fixture
def at_step_12(monkeypatch):
    monkeypatch.setattr(operations, "_place", "")
    monkeypatch.setattr(operations, "_current", operations.current())
    operations.at("step 12")


def test_a_wait_begins_and_ends(at_step_12):
    queued = operations.queued("all-reduce", "tp", (0, 1, 2))
    assert not operations.current().waiting
    assert str(queued) == "all-reduce over tp (ranks 0 to 2), step 12"
    operations.queued("broadcast", "dp", (0,))
    operations.wait_begins(queued)  # of the earlier one, not of what was queued last
    assert operations.current().waiting
    assert operations.current().what == "all-reduce"
    assert operations.current().since >= queued.since
    operations.wait_ends()
    assert not operations.current().waiting


def test_what_failed_is_still_what_the_process_is_at(at_step_12):
    with pytest.raises(RuntimeError), operations.waiting("barrier"):
        raise RuntimeError
    assert operations.current().waiting
    assert str(operations.current()) == "barrier, step 12"
