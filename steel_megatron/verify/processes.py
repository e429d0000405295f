"""Processes that go through a list of layouts together: started once, joined anew for each layout."""

from __future__ import annotations

import contextlib
import datetime
import logging
import multiprocessing
import os
import queue
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from steel_megatron.config import RunConfig
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.processes.launch import choose_backend, choose_device, shutdown
from steel_megatron.verify.layouts import Layout, Outcome, compare, run_layout, write_sample_data

log = logging.getLogger(__name__)

TIMEOUT = 300.0  # seconds for one layout


def verify(config: RunConfig, layouts: Sequence[Layout], device: str) -> Iterator[Outcome]:
    """Trains on one process and then on each layout, and yields each layout's comparison with the former.

    Args:
        config: shrunk, see :func:`~steel_megatron.verify.layouts.shrink`.
        layouts: in any order; a layout that fails costs only itself.
        device: ``cpu`` or ``cuda``; with cuda each process has a GPU of its own.
    """
    jobs = [Layout("one process"), *layouts]
    world_size = max(layout.world_size for layout in jobs)
    with tempfile.TemporaryDirectory(prefix="steel_verify_") as name:
        folder = Path(name)
        assert config.model.vocab_size is not None
        config = config.replace(data_path=[write_sample_data(folder, config.model.vocab_size)])
        reference: Outcome | None = None
        first = 0
        while first < len(jobs):
            with running(config, jobs, first, world_size, folder, device) as results:
                for number in range(first, len(jobs)):
                    outcome = take(results, jobs[number], number)
                    first = number + 1
                    if reference is None:
                        reference = outcome
                    elif not outcome.error:
                        compare(outcome, reference, folder / f"weights{number}", folder / "weights0")
                    if number > 0:
                        yield outcome
                    if outcome.error:
                        break  # the processes wait for one another in vain: new ones do the rest
            if reference is not None and reference.error:
                raise RuntimeError(f"the run on one process failed:\n{reference.error}")


@contextlib.contextmanager
def running(
    config: RunConfig, jobs: Sequence[Layout], first: int, world_size: int, folder: Path, device: str
) -> Iterator[Any]:
    """Starts the processes on the jobs from ``first`` on; gives the queue of their outcomes.

    They are forks of a server that has imported torch and this package once: on two cores that spares a minute. It has
    no threads and has not touched a GPU.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "steel_megatron.training.run"])
    results = context.Queue()
    processes: list[BaseProcess] = [
        context.Process(target=_work, args=(rank, config, list(jobs), first, str(folder), device, results), daemon=True)
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    try:
        yield results
    finally:
        for process in processes:
            process.kill()
            process.join()


def take(results: Any, layout: Layout, number: int) -> Outcome:
    """The outcome of a job, or what went wrong on any of its ranks."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            found, outcome = results.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            return Outcome(layout.name, error=f"no result within {TIMEOUT:.0f} s")
        if found == number:
            result: Outcome = outcome
            return result


def _work(rank: int, config: RunConfig, jobs: list[Layout], first: int, folder: str, device: str, results: Any) -> None:
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(max((os.cpu_count() or 1) // max(layout.world_size for layout in jobs), 1))
    for number in range(first, len(jobs)):
        layout = jobs[number]
        if rank >= layout.world_size:
            continue
        started = time.monotonic()
        try:
            grid = _join(layout, config, rank, Path(folder) / f"store{number}", device)
            outcome = run_layout(config, grid, layout, Path(folder) / f"weights{number}")
            outcome.seconds = time.monotonic() - started
            if rank == 0:
                results.put((number, outcome))
        except Exception:  # the group stays: NCCL's destroy would wait for peers that wait for this rank
            results.put((number, Outcome(layout.name, error=f"rank {rank}: {traceback.format_exc(limit=-3)}")))
            time.sleep(TIMEOUT)  # to be ended by the parent, so that the error is told before other ranks' echoes
            return
        shutdown()


def _join(layout: Layout, config: RunConfig, rank: int, store: Path, device: str) -> Grid:
    place = choose_device(device, rank)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if layout.world_size == 1:
        return Grid.single(place)
    dist.init_process_group(
        choose_backend("auto", place),
        init_method=f"file://{store}",
        rank=rank,
        world_size=layout.world_size,
        timeout=datetime.timedelta(seconds=TIMEOUT),
        device_id=place if place.type == "cuda" else None,
    )
    return Grid.create(layout.apply(config).parallel, place)
