"""Processes of one run come to one name, whatever others left in the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from steel_megatron.config import StalledRunError
from steel_megatron.parallel.processes.meeting import common_name

PATIENCE = timedelta(seconds=20)


def meet(store: dist.Store, ranks: range, world_size: int) -> set[str]:
    with ThreadPoolExecutor(len(ranks)) as pool:
        return set(pool.map(lambda rank: common_name(store, rank, world_size, PATIENCE), ranks))


def test_each_start_has_a_name_of_its_own():
    store = dist.HashStore()
    first, again = meet(store, range(3), 3), meet(store, range(3), 3)
    assert (len(first), len(again)) == (1, 1)
    assert first != again


def test_greetings_of_processes_that_have_ended_do_not_count():
    """Rank 1 of an attempt that went no further, then an attempt in which rank 0 comes long before rank 1."""
    store = dist.HashStore()
    store.set("hello/1", "of the past")
    with ThreadPoolExecutor(2) as pool:
        main = pool.submit(common_name, store, 0, 2, PATIENCE)
        store.wait(["welcome/of the past"])
        assert not main.done()
        assert common_name(store, 1, 2, PATIENCE) == main.result()


def test_who_does_not_come_is_named():
    with pytest.raises(StalledRunError, match=r"ranks 1, 2 of 3 did not join the run within 0\.00\d+ minutes"):
        common_name(dist.HashStore(), 0, 3, timedelta(seconds=0.1))
