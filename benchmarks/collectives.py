"""Time of reduce-scatter and all-gather over gloo: torch's own against what parallel/collectives.py makes of others.

python benchmarks/collectives.py --processes 4 --elements 2000000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing

from steel_megatron.config import ParallelConfig
from steel_megatron.parallel import collectives
from steel_megatron.parallel.grid import Grid


def measure(rank: int, processes: int, elements: int, store: str) -> None:
    """Runs in each process; rank 0 prints milliseconds per call."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)
    axis = Grid.create(ParallelConfig()).dp
    flat, own = torch.zeros(elements * processes), torch.zeros(elements)
    calls: dict[str, Callable[[], object]] = {
        "reduce-scatter, torch's": lambda: collectives._reduce_scatter(own, flat),
        "reduce-scatter, ours": lambda: collectives.reduce_scatter_flat(flat, axis).wait(),
        "all-gather, torch's": lambda: collectives._all_gather(flat, own),
        "all-gather, ours": lambda: collectives.all_gather_flat(flat, axis).wait(),
    }
    for name, call in calls.items():
        call()
        dist.barrier()
        started = time.perf_counter()
        for _ in range(10):
            call()
        dist.barrier()
        if rank == 0:
            print(f"{name:28} {100 * (time.perf_counter() - started):8.1f} ms")
    dist.destroy_process_group()


def main() -> None:
    """Parses the flags and starts the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--elements", type=int, default=2_000_000, help="fp32 elements per process")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (args.processes, args.elements, f"{folder}/store")
        torch.multiprocessing.spawn(measure, arguments, nprocs=args.processes)


if __name__ == "__main__":
    main()
