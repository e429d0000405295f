"""Peak memory of a training step as ``steel plan`` predicts it, and as it is.

    python benchmarks/memory.py [--cases NAME,NAME] [--json FILE]

Each case runs the trainer's own steps in processes of its own. On a CPU the profiler counts every byte that torch's
allocator hands out, so the measured peak is exact and holds nothing but tensors; the growth of the resident size is
printed beside it, and holds the libraries' own buffers too. On a GPU it is ``torch.cuda.max_memory_allocated``. The
fullest rank is shown.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import shlex
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile, record_function

from steel_megatron.config import RunConfig, check_run, load_run_config
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.parallel.grid import Grid
from steel_megatron.plan.memory import Memory, estimate_memory
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.tokens.token_type import best_dtype
from steel_megatron.training.loop import Trainer
from steel_megatron.training.startup.setup import build_components, build_data
from steel_megatron.training.state import RunState

SHAPE = {
    "num_layers": 8,
    "hidden_size": 320,
    "ffn_hidden_size": 896,
    "num_attention_heads": 10,
    "num_query_groups": 5,
    "vocab_size": 8192,
    "seq_length": 512,
    "micro_batch_size": 4,
}
GPT2 = {
    "normalization": "LayerNorm",
    "activation": "gelu_tanh",
    "position_embedding_type": "learned_absolute",
    "num_query_groups": 10,
    "add_bias_linear": True,
}
STEPS = 2
# name → (processes, knobs beside SHAPE)
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "16 M parameters": (1, {}),
    "16 M, torch's operations": (1, {"kernel_backend": "torch"}),
    "16 M, fp32": (1, {"precision": "fp32"}),
    "16 M, bf16 moments": (1, {"exp_avg_dtype": "bf16", "exp_avg_sq_dtype": "bf16"}),
    "16 M, selective": (1, {"recompute_granularity": "selective"}),
    "16 M, full": (1, {"recompute_granularity": "full"}),
    "16 M, micro-batch 8": (1, {"micro_batch_size": 8}),
    "GPT-2 shape": (1, GPT2),
    "64k vocabulary, chunks": (1, {"vocab_size": 65536}),
    "dp2, ZeRO-1": (2, {}),
    "tp2": (2, {"tensor_model_parallel_size": 2, "num_query_groups": 10}),
    "tp2, sequence parallel": (
        2,
        {"tensor_model_parallel_size": 2, "sequence_parallel": True, "num_query_groups": 10},
    ),
    "pp2, 1f1b": (2, {"pipeline_model_parallel_size": 2, "global_batch_size": 16}),
    "pp2, gpipe": (2, {"pipeline_model_parallel_size": 2, "global_batch_size": 16, "pipeline_schedule": "gpipe"}),
}


@dataclass(frozen=True)
class Measured:
    """Bytes of one process; ``states`` is what there is between steps."""

    rank: int
    states: int
    peak: int
    resident: int


def config_of(knobs: dict[str, Any], device: str) -> RunConfig:
    """A short run of a case."""
    tree = {**SHAPE, "make_vocab_size_divisible_by": 128, "eval_iters": 0, "train_iters": STEPS, "split": "100,0,0"}
    return load_run_config(None, {**tree, "device": device, **knobs}, None)


def measure(knobs: dict[str, Any], device: str, folder: str, rank: int = 0, processes: int = 1) -> Measured:
    """Runs a case's steps in this process, one of some."""
    config = config_of(knobs, device)
    config = config.replace(train_data_path=[random_dataset(config, Path(folder), rank)])
    config = check_run(config, processes)
    grid = Grid.single(device)
    if processes > 1:
        backend = "nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=f"file://{folder}/store", rank=rank, world_size=processes)
        grid = Grid.create(config.parallel, device)
    before = resident_high()
    if device == "cuda":
        return measure_cuda(config, grid, rank)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        trainer = build_trainer(config, grid)
        with record_function("training steps"):
            for _ in range(STEPS):
                trainer.train_step()
                trainer.read()
    trace = Path(folder) / f"trace_{rank}.json"
    profiler.export_chrome_trace(str(trace))
    states, peak = allocated(json.loads(trace.read_text(encoding="utf-8"))["traceEvents"])
    trainer.components.datasets.close()
    return Measured(rank, states, peak, resident_high() - before)


def measure_cuda(config: RunConfig, grid: Grid, rank: int) -> Measured:
    trainer = build_trainer(config, grid)
    states = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        trainer.train_step()
        trainer.read()
    trainer.components.datasets.close()
    return Measured(rank, states, torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())


def build_trainer(config: RunConfig, grid: Grid) -> Trainer:
    batch_size, state = BatchSize(config.training), RunState()
    datasets = build_data(config, grid, None, batch_size, state)
    components = build_components(config, grid, batch_size, datasets, initialise=True)
    return Trainer(config, components, state, [])


def allocated(events: list[dict[str, Any]]) -> tuple[int, int]:
    """(bytes allocated when the steps begin, most during them) from a trace."""
    begin = next(event["ts"] for event in events if event.get("name") == "training steps")
    total, states, peak = 0, 0, 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda event: float(event["ts"])):
        total += event["args"]["Bytes"]
        if event["ts"] < begin:
            states = peak = total
        peak = max(peak, total)
    return states, peak


def random_dataset(config: RunConfig, folder: Path, rank: int) -> str:
    """A dataset of random tokens for all steps."""
    training = config.training
    assert config.model.vocab_size is not None
    samples = STEPS * (training.global_batch_size or 2 * training.micro_batch_size)
    prefix = folder / f"tokens_{rank}"
    with IndexedWriter(prefix, best_dtype(config.model.vocab_size)) as writer:
        random = np.random.default_rng(1)
        writer.add_document(random.integers(0, config.model.vocab_size, samples * training.seq_length + 1))
    return str(prefix)


def resident_high() -> int:
    """Largest resident size of this process so far, in bytes; ru_maxrss would include the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def run_case(processes: int, knobs: dict[str, Any], device: str) -> Measured:
    """The fullest rank of a case."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(processes) as pool:
        arguments = [(knobs, device, folder, rank, processes) for rank in range(processes)]
        return max(pool.starmap(measure, arguments, chunksize=1), key=lambda found: found.peak)


def row(name: str, planned: Memory, found: Measured) -> list[str]:
    parts = [planned.weights, planned.gradients, planned.optimizer, planned.activations, planned.working]
    figures = [f"{part / 1e6:,.1f}" for part in [*parts, planned.total, found.peak]]
    return [name, *figures, f"{planned.total / found.peak:.3f}", f"{found.resident / 1e6:,.0f}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", help=f"some of: {', '.join(CASES)} (separated by semicolons); default: all")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    args = parser.parse_args()
    names = [name.strip() for name in args.cases.split(";")] if args.cases else list(CASES)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    titles = ["case", "weights", "gradients", "optimizer", "activations", "temporaries", "predicted", "measured"]
    what = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
    print(f"\n`{shlex.join(['python', *sys.argv])}`; torch {torch.__version__}, {what}; MB of the fullest rank\n")
    print("| " + " | ".join([*titles, "ratio", "resident" if device == "cpu" else "reserved"]) + " |")
    print("|" + " --- |" * (len(titles) + 2))
    rows = []
    for name in names:
        processes, knobs = CASES[name]
        planned, found = estimate_memory(config_of(knobs, device), processes), run_case(processes, knobs, device)
        rows.append({"case": name, "predicted": asdict(planned), "measured": asdict(found)})
        print("| " + " | ".join(row(name, planned, found)) + " |", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"device": what, "torch": torch.__version__, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
