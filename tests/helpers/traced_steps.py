"""Training steps under the recorder of the fake device: on it, or for comparison really computed on a CPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import record_function

from fake_cuda import traffic
from fake_cuda.rank import forget_tensors, random_dataset
from fake_cuda.recorder import ATTENTION, MATMUL, Recorder
from fake_cuda.scopes import Scopes
from steel_megatron.config import RunConfig, check_run, load_run_config
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.parallel.grid import Grid
from steel_megatron.training.loop import Trainer
from steel_megatron.training.startup.setup import build_components, build_data
from steel_megatron.training.state import RunState

STEPS = 2
PROFILED = "training steps"  # what a profiler calls them
SHAPE = {
    "num_layers": 2,
    "hidden_size": 128,
    "ffn_hidden_size": 352,
    "num_attention_heads": 4,
    "num_query_groups": 2,
    "qk_layernorm": True,
    "vocab_size": 1024,
    "seq_length": 64,
    "micro_batch_size": 2,
    "train_iters": STEPS,
    "eval_iters": 0,
    "split": "100,0,0",
    "num_workers": 1,
    "lr_warmup_iters": 1,
    "bucket_size": 100_000,
}


@dataclass
class Facts:
    """Of the last step; memory of all of them."""

    matmul_flops: float
    attention_flops: float
    states: int  # bytes allocated before the first step
    peak: int  # most bytes allocated during the steps
    messages: list[list[Any]]


def config_of(knobs: dict[str, Any], device: str) -> RunConfig:
    return load_run_config(None, {**SHAPE, "device": device, **knobs})


def dataset(folder: Path) -> str:
    return random_dataset(folder, 64, SHAPE["seq_length"], SHAPE["vocab_size"])  # type: ignore[arg-type]


def traced(trainer: Trainer, recorder: Recorder) -> dict[str, Any]:
    """Facts of the steps that a trainer makes."""
    states = recorder.peak = recorder.allocated
    with record_function(PROFILED):
        for _ in range(STEPS):
            recorder.clear()
            trainer.train_step()
            trainer.read()
    flops = {
        kind: sum(found.flops for found in recorder.operations if found.kind == kind) for kind in (MATMUL, ATTENTION)
    }
    messages = [
        [m.kind, list(m.ranks), str(m.dtype), m.elements, m.own, m.peer] for m in recorder.messages if m.elements
    ]
    return asdict(Facts(flops[MATMUL], flops[ATTENTION], states, recorder.peak, messages))


def run_on_cpu(config: RunConfig, grid: Grid) -> dict[str, Any]:
    """The same facts of steps that are computed in this process."""
    forget_tensors()  # those of earlier runs would not be allocated again
    traffic.DEVICE = "cpu"
    try:
        recorder = Recorder(Scopes())
        recorder.answers = False
        config = check_run(config, grid.world.size)
        with recorder, recorder.scopes.following():
            batch_size, state = BatchSize(config.training), RunState()
            datasets = build_data(config, grid, None, batch_size, state)
            components = build_components(config, grid, batch_size, datasets, initialise=True)
            try:
                return traced(Trainer(config, components, state, []), recorder)
            finally:
                datasets.close()
    finally:
        traffic.DEVICE = "cuda"
        torch.set_grad_enabled(True)
