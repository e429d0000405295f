"""Runs cases for every rank, and tells what is wrong with each.

python -m fake_cuda.suite --json FILE [--case LAYOUT/WAY/KERNELS …]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fake_cuda import guard

if "torch" not in sys.modules:
    guard.load()

from torch.distributed.checkpoint.planner import SavePlan

from fake_cuda.agreement import disagreements
from fake_cuda.cases import COVERING, all_cases, case_config
from fake_cuda.messages import Message
from fake_cuda.rank import fake_rank, random_dataset
from fake_cuda.recorder import Recorder
from fake_cuda.saving import local_plan, problems_of_plans
from fake_cuda.stand_ins import FakeGPU
from steel_megatron.config import RunConfig
from steel_megatron.training.loop import Callback, Trainer
from steel_megatron.training.run import callbacks_of
from steel_megatron.verify.layouts import Layout

HOPPER = FakeGPU("NVIDIA H100 80GB HBM3", (9, 0), 80 << 30)


@dataclass
class RankRecord:
    """What one rank did in a run."""

    messages: list[Message]
    waits: Counter[str]  # after the first step
    plan: SavePlan | None
    error: str = ""


@dataclass
class Outcome:
    """What is wrong with a case; nothing if ``errors`` is empty."""

    name: str
    ranks: int = 0
    operations: int = 0
    messages: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


class _Strictness(Callback):
    """Waits count from the second step on: the first fills caches."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        recorder.strict = False

    def on_step_begin(self, trainer: Trainer) -> None:
        self.recorder.strict = trainer.state.step > 0

    def on_end(self, trainer: Trainer) -> None:
        self.recorder.strict = False


def run_case(layout: Layout, way: str, kernels: str) -> Outcome:
    """Trains, validates and plans a checkpoint as each rank of a layout in turn, and compares the ranks."""
    outcome = Outcome(f"{layout.name}/{way}/{kernels}", layout.world_size)
    started = time.perf_counter()
    config = case_config(layout, way, kernels)
    training = config.training
    records = {}
    with tempfile.TemporaryDirectory() as folder:
        assert config.model.vocab_size is not None
        samples = 8 * (training.global_batch_size or 1)
        dataset = random_dataset(Path(folder), samples, training.seq_length, config.model.vocab_size)
        for rank in range(layout.world_size):
            records[rank] = run_rank(config, rank, layout.world_size, dataset, outcome)
    outcome.errors += check(records, config)
    outcome.messages = sum(len(record.messages) for record in records.values())
    outcome.seconds = time.perf_counter() - started
    return outcome


def run_rank(config: RunConfig, rank: int, world: int, dataset: str, outcome: Outcome) -> RankRecord:
    """A whole run as one rank, with all its callbacks but those that write."""
    record = RankRecord([], Counter(), None)
    try:
        with fake_rank(config, rank, world, HOPPER, dataset, initialise=True) as (trainer, recorder):
            record.messages, record.waits = recorder.messages, recorder.waits
            callbacks = callbacks_of(trainer.config, trainer.components, None, time.monotonic())
            trainer.callbacks = [_Strictness(recorder), *callbacks]
            trainer.fit()
            outcome.operations += len(recorder.operations)
            record.plan = local_plan(trainer)
    except Exception:
        record.error = traceback.format_exc(limit=-8)
    return record


def check(records: dict[int, RankRecord], config: RunConfig) -> list[str]:
    """What is wrong with the ranks of a run."""
    errors = [f"rank {rank}: {record.error}" for rank, record in records.items() if record.error]
    if errors:
        return errors[:1]
    for rank, record in records.items():
        waits = Counter(record.waits)
        if config.training.precision == "fp16":  # the host has to know whether to skip a step
            waits -= Counter({"item in optimizer": (config.training.train_iters or 1) - 1})
        errors += [
            f"rank {rank}: the host waits for the device: {call} ({count} times)" for call, count in waits.items()
        ]
    errors += disagreements({rank: record.messages for rank, record in records.items()})
    return errors + problems_of_plans([record.plan for record in records.values() if record.plan is not None])


def run_cases(names: Sequence[str]) -> list[Outcome]:
    """Cases by their names, LAYOUT/WAY/KERNELS."""
    os.environ["STEEL_KERNEL_TIMES"] = os.devnull
    warnings.filterwarnings("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    cases = [name.split("/") for name in names]
    return [run_case(Layout.parse(layout), way, kernels) for layout, way, kernels in cases]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="*", metavar="NAME", help="default: a choice that covers everything once")
    parser.add_argument("--all", action="store_true", help="the whole product of layouts, ways and kernels")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    chosen = args.case or ["/".join(case) for case in (all_cases() if args.all else COVERING)]
    outcomes = []
    for name in chosen:
        outcomes += run_cases([name])
        found = outcomes[-1]
        state = "; ".join(found.errors) or "right"
        print(f"{name}: {found.ranks} ranks, {found.operations} operations, {found.seconds:.1f} s: {state}", flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1), encoding="utf-8")
    return int(any(outcome.errors for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
