"""The helper that runs processes is itself a thing that can fail."""

from __future__ import annotations

import os
import time

import pytest
import torch
import torch.distributed as dist

from helpers.processes import run_processes


def sum_of_ranks(offset: int) -> tuple[int, float]:
    total = torch.tensor(float(dist.get_rank() + offset))
    dist.all_reduce(total)
    return dist.get_rank(), total.item()


def fail_on_rank(rank: int) -> None:
    if dist.get_rank() == rank:
        raise ValueError("a message to find again")
    time.sleep(60)


def die() -> None:
    os._exit(3)


def sleep() -> None:
    time.sleep(60)


def test_results_come_in_order_of_rank():
    assert run_processes(sum_of_ranks, 2, 10) == [(0, 21.0), (1, 21.0)]


def test_a_failure_brings_the_traceback_and_kills_the_others():
    with pytest.raises(RuntimeError, match=r"(?s)rank 1 failed.*a message to find again"):
        run_processes(fail_on_rank, 2, 1)


def test_a_dead_process_is_noticed():
    with pytest.raises(RuntimeError, match="died"):
        run_processes(die, 1, init_group=False)


def test_a_hang_ends():
    with pytest.raises(TimeoutError, match="ranks"):
        run_processes(sleep, 1, init_group=False, timeout=1)
