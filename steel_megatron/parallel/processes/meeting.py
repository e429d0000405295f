"""A name that the processes of this run share, and no others that use or used the same store.

torchrun's store outlives the processes that it starts again after a failure, and what they left in it: a failure that
was told, addresses of groups. The number of restarts is no such name, for nodes that see a restart as a change of
membership do not count it. So rank 0 makes one up, and answers with it whoever greets it with a greeting of its own.
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import torch.distributed as dist

from steel_megatron.config import StalledRunError
from steel_megatron.parallel.processes.operations import named_ranks

LOOK = 0.02  # seconds between two looks of rank 0


def common_name(store: dist.Store, rank: int, world_size: int, patience: timedelta) -> str:
    """The run's name; a collective call.

    Raises:
        StalledRunError: on rank 0: which ranks have not come.
    """
    if rank == 0:
        return _welcome(store, world_size, patience)
    greeting = uuid.uuid4().hex
    store.set(f"hello/{rank}", greeting)
    store.wait([f"welcome/{greeting}"], patience)
    name = str(store.get(f"welcome/{greeting}").decode())
    store.set(f"{name}/here/{rank}", "")
    return name


def _welcome(store: dist.Store, world_size: int, patience: timedelta) -> str:
    """Answers every greeting, those of processes that have ended too, until all ranks have said that they know."""
    name, end = uuid.uuid4().hex, time.monotonic() + patience.total_seconds()
    answered: dict[int, str] = {}
    while absent := [other for other in range(1, world_size) if not store.check([f"{name}/here/{other}"])]:
        for other in absent:
            if store.check([f"hello/{other}"]):
                greeting = store.get(f"hello/{other}").decode()
                if answered.get(other) != greeting:
                    store.set(f"welcome/{greeting}", name)
                    answered[other] = greeting
        if time.monotonic() > end:
            minutes = patience.total_seconds() / 60
            raise StalledRunError(
                f"{named_ranks(tuple(absent))} of {world_size} did not join the run within {minutes:g} minutes",
                rule="all processes of a run meet at its start, within --distributed-timeout-minutes",
                fix="see what the processes of those ranks say, and whether their machines reach MASTER_ADDR",
            )
        time.sleep(LOOK)
    return name
