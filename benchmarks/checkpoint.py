"""Seconds to save, check and load a checkpoint, beside torch.save and torch.load of the same tensors.

python benchmarks/checkpoint.py --gigabytes 1 --processes 2

The tensors are rows of one fp32 buffer, as a sharded optimizer holds them. With several processes each holds its share
of the rows; torch saves a file per process. Both save under new names and wait for the disk (fsync); both load from the
system's cache into memory that is there already. They take turns, the other first in every other round, and the fastest
round is printed: what makes one slower is mostly other programs, and memory that the system has to find.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.parallel.parameter import TensorSlice

COLUMNS = 2048
Calls = dict[str, Callable[[], object]]


def slices_of(rank: int, processes: int, bytes_per_process: int, tensors: int) -> dict[str, TensorSlice]:
    """This process's rows of each tensor, as views of one buffer."""
    rows = bytes_per_process // (4 * COLUMNS * tensors)
    buffer = torch.randn(tensors, rows, COLUMNS)
    shape = (rows * processes, COLUMNS)
    return {f"model.{n}": TensorSlice(view, shape, (rank * rows, 0)) for n, view in enumerate(buffer)}


def torch_save(path: Path, blocks: dict[str, TensorSlice]) -> None:
    """One file, on the disk when this returns."""
    with open(path, "wb") as file:
        torch.save({name: block.tensor for name, block in blocks.items()}, file)
        file.flush()
        os.fsync(file.fileno())


def torch_load(path: Path, blocks: dict[str, TensorSlice], mmap: bool = False) -> None:
    """Into the tensors that are there."""
    for name, tensor in torch.load(path, mmap=mmap).items():
        blocks[name].tensor.copy_(tensor)


def measure(rank: int, processes: int, bytes_in_all: int, tensors: int, rounds: int, folder: str) -> None:
    """Runs in each process; rank 0 prints the table."""
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=processes)
    blocks = slices_of(rank, processes, bytes_in_all // processes, tensors)
    store, plain = CheckpointStore(Path(folder) / "run"), Path(folder) / f"plain_{rank}.pt"
    saves: Calls = {"torch.save, fsync": lambda: torch_save(plain, blocks), "save": lambda: store.save(1, blocks, {})}
    loads: Calls = {
        "torch.load": lambda: torch_load(plain, blocks),
        "torch.load, mmap": lambda: torch_load(plain, blocks, mmap=True),
        "load": lambda: store.load(1, blocks),
    }
    seconds: dict[str, float] = {}
    for number in range(rounds):
        for calls in (saves, loads, {"verify": lambda: store.verify(1)}):
            for name, call in list(calls.items())[:: -1 if number % 2 else 1]:
                if name == "save" and rank == 0:
                    shutil.rmtree(store.root, ignore_errors=True)
                if name == "torch.save, fsync":
                    plain.unlink(missing_ok=True)
                seconds[name] = min(timed(call), seconds.get(name, math.inf))
    if rank == 0:
        size = processes * sum(block.tensor.nbytes for block in blocks.values()) / 1e9
        print(f"{size:.2f} GB in {tensors} tensors, {processes} processes, torch {torch.__version__}")
        for name, value in seconds.items():
            peer = {"save": "torch.save, fsync", "load": "torch.load", "verify": "torch.load"}.get(name)
            ratio = f"{value / seconds[peer]:6.2f} × {peer}" if peer else ""
            print(f"{name:20} {value:7.2f} s {size / value:7.2f} GB/s {ratio}")
    if processes > 1:
        dist.destroy_process_group()


def timed(call: Callable[[], object]) -> float:
    """Seconds until all processes have done it."""
    wait()
    started = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - started


def wait() -> None:
    """Until all processes are here."""
    if dist.is_initialized():
        dist.barrier()


def main() -> None:
    """Parses the flags and starts the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of all processes together")
    parser.add_argument("--tensors", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the files are written; a temporary one when not given")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(dir=args.folder)
    try:
        arguments = (args.processes, int(args.gigabytes * 1e9), args.tensors, args.rounds, folder)
        torch.multiprocessing.spawn(measure, arguments, nprocs=args.processes)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
