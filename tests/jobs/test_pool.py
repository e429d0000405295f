"""Work by several processes: order, bounds, errors, deaths."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from steel_megatron.config import DataError
from steel_megatron.jobs.pool import HELD, ordered_map


def square_slowly(state, item):
    time.sleep(random.Random(item).random() * 0.01)
    return state + item * item


def die_at_seven(state, item):
    if item == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def fail_at_seven(state, item):
    if item == 7:
        raise state("seven")
    return item


def big_result(state, item):
    return bytes(len(item))


def process_id(state, item):
    time.sleep(0.02)
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers):
    assert list(ordered_map(square_slowly, 5, range(60), workers)) == [5 + i * i for i in range(60)]


def test_no_item_no_result():
    assert list(ordered_map(square_slowly, 5, [], 2)) == []


def test_the_work_is_shared():
    assert len(set(ordered_map(process_id, None, range(40), 2))) == 2


def test_items_are_taken_as_results_are_given_out():
    taken = []

    def items():
        for item in range(200):
            taken.append(item)
            yield item

    ahead = [len(taken) - given for given, _ in enumerate(ordered_map(square_slowly, 0, items(), 2))]
    assert len(ahead) == 200
    assert max(ahead) <= 2 * HELD + 1


def test_large_items_and_results_do_not_block():
    # Both directions at once are far more than a pipe holds.
    items = [bytes(3_000_000)] * 12
    assert [len(result) for result in ordered_map(big_result, None, items, 2)] == [3_000_000] * 12


def test_a_dead_worker_is_an_error_that_names_its_item():
    with pytest.raises(DataError, match=r"died \(SIGKILL\) while it had .*7"):
        list(ordered_map(die_at_seven, None, range(20), 2))


def test_an_exception_names_its_item_and_shows_where():
    with pytest.raises(DataError, match=r"failed on 7:\n(.|\n)*fail_at_seven(.|\n)*seven"):
        list(ordered_map(fail_at_seven, ValueError, range(20), 2))


def test_an_error_for_the_user_is_passed_on():
    with pytest.raises(DataError, match=r"^seven$"):
        list(ordered_map(fail_at_seven, DataError, range(20), 2))


def test_leaving_early_ends_the_workers():
    results = ordered_map(process_id, None, range(1000), 2)
    workers = {next(results) for _ in range(6)}
    results.close()
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
