"""Step time of the demo's model on each layout, all on this machine's cores.

    python benchmarks/parallel.py [--config RUN.yaml] [--layouts "dp1;tp2,sp,pp2,dp2"] [--steps N]

Every layout trains the same global batch with the run's own trainer, in processes started for it; a process computes
with the cores divided by the processes, and with one thread where there are fewer cores. Printed per layout:

- step: median wall time of a step, the slowest rank's, after warm-up, with the fastest and the slowest step.
- CPU: seconds of CPU of all processes together; what one process needs on one thread is the work itself.
- busy: that by cores and wall time.
- other threads: share of the CPU time spent outside the threads that compute: gloo's sockets and sums, data.
- MB, calls: what a rank hands to collectives and to the pipeline's sends per step, on average over the ranks.
- bubble: the pipeline's, by FLOPs. It costs time only where each process has a core of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

from steel_megatron.config import RunConfig, load_run_config
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.parallel.grid import Grid
from steel_megatron.plan.pipeline import pipeline_timeline
from steel_megatron.training.loop import Callback, Trainer
from steel_megatron.training.startup.setup import build_components, build_data
from steel_megatron.training.state import RunState
from steel_megatron.verify.layouts import Layout, write_sample_data

LAYOUTS = (
    "dp1;dp2;dp2,nozero;tp2;tp2,sp;pp2;pp2,gpipe;pp2,vpp2;tp2,pp2;tp2,sp,pp2;pp2,dp2;dp4;"
    "tp2,pp2,dp2;tp2,sp,pp2,dp2;dp8;tp8;pp8"
)


@dataclass
class Step:
    """One step of one rank."""

    seconds: float
    cpu: float
    computing: float  # CPU seconds of the main thread
    sent: float  # bytes
    calls: float


class Traffic:
    """Counts what this process hands to collectives and sends."""

    def __init__(self) -> None:
        self.sent = self.calls = 0
        for name in ("all_reduce", "broadcast", "reduce_scatter_tensor", "all_gather_into_tensor"):
            setattr(dist, name, self._counted(getattr(dist, name)))
        batch = dist.batch_isend_irecv

        def counted_batch(operations: Sequence[dist.P2POp]) -> list[Any]:
            for operation in operations:
                if operation.op is dist.isend:
                    self._add(operation.tensor)
            return batch(list(operations))

        dist.batch_isend_irecv = counted_batch

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(tensor: torch.Tensor, *args: Any, **options: Any) -> Any:
            source = options.get("src")
            if source is None or source == dist.get_rank():  # of a broadcast only the rank that sends
                self._add(tensor)
            return function(tensor, *args, **options)

        return counted

    def _add(self, tensor: torch.Tensor) -> None:
        self.sent += tensor.numel() * tensor.element_size()
        self.calls += 1


class Clock(Callback):
    """Measures each step from one end to the next."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.steps: list[Step] = []

    def on_start(self, trainer: Trainer) -> None:
        self.last = self._now()

    def on_step_end(self, trainer: Trainer) -> None:
        now = self._now()
        self.steps.append(Step(*(a - b for a, b in zip(now, self.last, strict=True))))
        self.last = self._now()

    def _now(self) -> tuple[float, float, float, float, float]:
        return (
            time.perf_counter(),
            time.process_time(),
            time.thread_time(),
            float(self.traffic.sent),
            float(self.traffic.calls),
        )


def work(rank: int, config: RunConfig, world_size: int, folder: str) -> None:
    """A process of a layout: trains and leaves its steps in ``folder``."""
    torch.set_num_threads(max(cores() // world_size, 1))
    grid = Grid.single()
    traffic = Traffic()
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
        grid = Grid.create(config.parallel, "cpu")
    batch_size = BatchSize(config.training)
    state = RunState()
    datasets = build_data(config, grid, None, batch_size, state)
    try:
        components = build_components(config, grid, batch_size, datasets, initialise=True)
        clock = Clock(traffic)
        Trainer(config, components, state, [clock]).fit()
        torch.save([vars(step) for step in clock.steps], f"{folder}/{rank}.pt")
    finally:
        datasets.close()
        if world_size > 1:
            dist.barrier()
            dist.destroy_process_group()


def measure(config: RunConfig, layout: Layout, warm_up: int) -> list[list[Step]]:
    """Per step after the warm-up, what each rank measured."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (config, layout.world_size, folder), nprocs=layout.world_size)
        ranks = [[Step(**s) for s in torch.load(f"{folder}/{rank}.pt")] for rank in range(layout.world_size)]
    return [list(step) for step in zip(*ranks, strict=True)][warm_up:]


def row(layout: Layout, config: RunConfig, steps: list[list[Step]]) -> str:
    """The layout's line of the table."""
    walls = [max(step.seconds for step in ranks) for ranks in steps]
    cpu = statistics.median(sum(step.cpu for step in ranks) for ranks in steps)
    computing = statistics.median(sum(step.computing for step in ranks) for ranks in steps)
    wall = statistics.median(walls)
    sent = statistics.mean(step.sent for step in steps[-1]) / 1e6
    calls = statistics.mean(step.calls for step in steps[-1])
    bubble = f"{pipeline_timeline(config, layout.world_size).bubble:.0%}" if layout.pp > 1 else "-"
    # One process computes on several threads, which its main thread's time does not show.
    others = f"{1 - computing / cpu:.0%}" if layout.world_size >= cores() else "-"
    spread = f"{wall * 1e3:,.0f} ({min(walls) * 1e3:,.0f}–{max(walls) * 1e3:,.0f})"
    return (
        f"| {layout.name} | {layout.world_size} | {spread} | "
        f"{cpu:.2f} | {cpu / (cores() * wall):.0%} | {others} | {sent:,.1f} | {calls:,.0f} | {bubble} |"
    )


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def main() -> int:
    """Parses the flags, measures each layout and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    demo = Path(__file__).parents[1] / "examples" / "demo" / "demo.yaml"
    parser.add_argument("--config", default=str(demo), help="run file; default: the demo's")
    parser.add_argument("--layouts", default=LAYOUTS, help="joined by ';', written as for steel verify")
    parser.add_argument("--vocab-size", type=int, default=8192, help="default 8192")
    parser.add_argument("--global-batch-size", type=int, default=16, help="samples per step; default 16")
    parser.add_argument("--micro-batch-size", type=int, default=2, help="default 2")
    parser.add_argument("--steps", type=int, default=7, help="steps measured; default 7")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before; default 2")
    args = parser.parse_args()
    config = load_run_config(args.config).replace(
        vocab_size=args.vocab_size,
        global_batch_size=args.global_batch_size,
        micro_batch_size=args.micro_batch_size,
        train_iters=args.warm_up + args.steps,
        eval_iters=0,
        device="cpu",
        split="100,0,0",
        save=None,
    )
    training = config.training
    tokens = args.global_batch_size * training.seq_length
    print(
        f"`{' '.join(['python', *sys.argv])}`; torch {torch.__version__}, {cores()} cores ({platform.machine()}), "
        f"{training.precision}, {tokens:,} tokens per step in micro-batches of {args.micro_batch_size}\n\n"
        "| layout | processes | step, ms | CPU, s | busy | other threads | MB | calls | bubble |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        config = config.replace(data_path=[write_sample_data(Path(folder), args.vocab_size)])
        for layout in [Layout.parse(text) for text in args.layouts.split(";")]:
            spread = layout.apply(config)
            print(row(layout, spread, measure(spread, layout, args.warm_up)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
