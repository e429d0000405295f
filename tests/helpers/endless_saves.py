"""Ranks that save one checkpoint after another until they are killed."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist

import helpers.processes  # noqa: F401 - makes the fork server import torch once
from helpers.processes import free_port
from helpers.small_checkpoints import blocks_at
from steel_megatron.checkpoint.store import CheckpointStore


def saved_before_death(root: Path, ranks: int, wait_for: int, seconds: float) -> int:
    """Starts ranks that save, and kills all of them.

    Args:
        wait_for: checkpoints that must have been written before.
        seconds: time that passes after that.

    Returns:
        The last step whose save came to its end on rank 0.
    """
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    port = free_port()
    processes = [
        context.Process(target=_save, args=(root, rank, ranks, port, writer if rank == 0 else None))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    writer.close()
    steps = [reader.recv() for _ in range(wait_for)]
    time.sleep(seconds)
    for process in random.sample(processes, ranks):
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()
        assert process.exitcode == -signal.SIGKILL
    try:
        while True:
            steps.append(reader.recv())
    except (EOFError, OSError):  # the last message may have been cut
        return steps[-1]


def _save(root: Path, rank: int, ranks: int, port: int, writer: Connection | None) -> None:
    torch.set_num_threads(1)
    address, patience = f"tcp://127.0.0.1:{port}", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=ranks, timeout=patience)
    store = CheckpointStore(root)
    for step in itertools.count((store.newest() or 0) + 1):
        store.save(step, blocks_at(step, rank, ranks), {"step": step}, b"random")
        if writer is not None:
            writer.send(step)
        store.prune(2)
