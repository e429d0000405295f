"""A training run from the first check to the last checkpoint."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import RunConfig, check_run
from steel_megatron.model.flops import model_flops
from steel_megatron.ops import cpu_products
from steel_megatron.ops.activation import check_activation
from steel_megatron.ops.determinism import deterministic_mode
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.optim.schedule import LearningRate
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import param_dtype
from steel_megatron.parallel.processes.launch import initialize, launch_from, shutdown
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.training.callbacks.checkpointing import Checkpointing
from steel_megatron.training.callbacks.console import Console
from steel_megatron.training.callbacks.data_files import DataFiles
from steel_megatron.training.callbacks.exits import Exits
from steel_megatron.training.callbacks.garbage import GarbageCollection
from steel_megatron.training.callbacks.metrics import MetricsFile, TensorboardEvents, WandbRun
from steel_megatron.training.callbacks.outside import given_callbacks, take_up_states
from steel_megatron.training.callbacks.profiling import Profiling
from steel_megatron.training.callbacks.throughput import Throughput, device_peak_tflops
from steel_megatron.training.callbacks.validation import Validation
from steel_megatron.training.faults.failures import told_failures
from steel_megatron.training.faults.non_finite import NonFiniteSteps
from steel_megatron.training.loop import Callback, Trainer
from steel_megatron.training.output.lock import FolderLock
from steel_megatron.training.output.steady_output import steady_output
from steel_megatron.training.startup.kernels import tell_other_choices
from steel_megatron.training.startup.run_files import RunFiles
from steel_megatron.training.startup.setup import Components, build_components, build_data, load_start
from steel_megatron.training.startup.skipping import take_up_skips
from steel_megatron.training.startup.start import check_start, find_start, lasting, tell_complete
from steel_megatron.training.startup.vocabulary import run_tokenizer
from steel_megatron.training.state import RunState

log = logging.getLogger(__name__)


@steady_output()
def train(config: RunConfig, callbacks: Sequence[Callback] = ()) -> RunState:
    """Trains as the configuration says; what is impossible is refused before any process starts work.

    Call it in every process of torchrun, or in a single process (a notebook, another project). An exception in one of
    several processes is told to the others, which end within seconds; the process groups are left as they are, for
    destroying them would wait.

    Args:
        callbacks: what else happens, the same in every process; those of ``--callback`` follow. See
            :class:`~steel_megatron.training.loop.Callback` for the hooks and their order.

    Returns:
        Steps, samples and tokens reached.

    Raises:
        SteelError: what a user can mend, with what was given, the rule and the fix.
    """
    started = time.monotonic()
    launch = launch_from(os.environ)
    set_up_logging(launch.rank if launch else 0)
    config = check_run(config, launch.world_size if launch else 1)
    LearningRate(config.optimizer, config.training)  # refuses a warm-up that is longer than the run
    check_activation(config.model.activation)
    outside = given_callbacks(config.training.callback, callbacks)
    check_start(config.checkpoint)
    tokenizer = run_tokenizer(config)
    with deterministic_mode(config.training.deterministic_mode):
        grid = initialize(config.parallel, config.training.device)
        state = run(config, grid, tokenizer, started, outside)
    shutdown()
    return state


def run(
    config: RunConfig,
    grid: Grid,
    tokenizer: Tokenizer | None,
    started: float,
    outside: Sequence[Callback] = (),
) -> RunState:
    """The part of a run that needs all processes. ``outside``: as :func:`.outside.given_callbacks` made them."""
    main = grid.world.rank == 0
    folder = Path(config.checkpoint.save) if config.checkpoint.save else None
    with ExitStack() as closings, told_failures(config.training, grid):
        lock = FolderLock(folder) if main and folder is not None else None
        if lock is not None:
            closings.callback(lock.release)
        if main and folder is None:
            log.warning("no --save: nothing of this run will be kept, neither weights nor metrics")
        state = RunState()
        events = Path(config.logging.tensorboard_dir or (folder or Path()) / "tensorboard")
        start = find_start(config.checkpoint, events)
        recorded_phases = []
        if start.store is not None and not start.weights_only:
            state.load(start.facts["state"])
            recorded_phases = start.facts["phases"]
        continued = start.facts if start.store is not None and not start.weights_only else None
        data, next_sample = take_up_skips(config.data, continued)
        config = replace(config, data=data)
        batch_size = BatchSize(config.training, *start.past())
        datasets = build_data(config, grid, tokenizer, batch_size, state, recorded_phases, next_sample)
        closings.callback(datasets.close)
        config = config.replace(vocab_size=datasets.tokenizer.vocab_size)
        start.check(config, datasets.tokenizer.fingerprint)
        components = build_components(config, grid, batch_size, datasets, initialise=start.store is None)
        load_start(config, components, start)
        if start.store is not None and not start.weights_only:
            tell_other_choices(start.facts.get("kernels", {}), grid)
        if tell_complete(start, batch_size) and start.leaving is not None:
            return state  # what would be set aside, and metrics beyond this step, stay where they are
        if folder is not None:
            start.leave(folder, events)
        callbacks = callbacks_of(config, components, folder, started, start.overrides, outside)
        if folder is not None and lock is not None:
            files = RunFiles(lasting(config), folder, tokenizer, lock)
            files.write()
            callbacks.insert(0, files)
        log.info("%s", describe(config, components))
        non_finite = NonFiniteSteps(tokenizer, state.step)
        if continued is not None:
            non_finite.take_up(continued)
            take_up_states(outside, continued.get("callbacks"))
        trainer = Trainer(config, components, state, callbacks, non_finite, tokenizer)
        closings.callback(trainer.close)
        return trainer.fit()


def callbacks_of(
    config: RunConfig,
    components: Components,
    folder: Path | None,
    started: float,
    overrides: Sequence[dict[str, Any]] = (),
    outside: Sequence[Callback] = (),
) -> list[Callback]:
    """The callbacks of a run. Their order matters: each sees in the metrics what those before it added.

    Args:
        overrides: of the checkpoint's model so far, for further checkpoints.
        outside: those that the run was given.
    """
    training, logging_, grid = config.training, config.logging, components.grid
    main = grid.world.rank == 0
    progress = main and sys.stderr.isatty()
    callbacks: list[Callback] = []
    if logging_.profile and grid.world.rank in logging_.profile_ranks:
        traces = (folder or Path()) / "profile"
        callbacks.append(Profiling(traces, logging_.profile_step_start, logging_.profile_step_end, grid.world.rank))
    peak = device_peak_tflops(grid.device, training.precision, logging_.peak_tflops)
    callbacks += [Exits(training, started), Throughput(model_flops(config.model, training.seq_length), peak)]
    if components.valid_data is not None:
        callbacks.append(Validation(training.eval_interval, training.eval_iters, progress))
    callbacks += outside
    if main and folder is not None:
        callbacks.append(MetricsFile(folder / "metrics.jsonl"))
        if logging_.tensorboard:
            callbacks.append(TensorboardEvents(Path(logging_.tensorboard_dir or folder / "tensorboard")))
    if main and logging_.wandb_project:
        callbacks.append(WandbRun(logging_.wandb_project, logging_.wandb_exp_name, folder or Path()))
    if main:
        callbacks.append(Console(logging_.log_interval, progress))
    if folder is not None:
        callbacks.append(Checkpointing(CheckpointStore(folder), config.checkpoint, overrides))
    callbacks.append(DataFiles(training.eval_interval, config.checkpoint.save_interval))
    if training.manual_gc:
        callbacks.append(GarbageCollection(training.manual_gc_interval))
    return callbacks


def describe(config: RunConfig, components: Components) -> str:
    """What is about to be trained, for the log."""
    grid, training, model = components.grid, config.training, config.model
    parameters = sum(parameter.numel() for parameter in components.data_parallel.parameters)
    layout = f"tp {grid.tp.size} × pp {grid.pp.size} × dp {grid.dp.size}"
    optimizer = "sharded over dp (ZeRO-1)" if components.data_parallel.sharded else "whole on every rank"
    return "\n".join(
        [
            f"model: {parameters:,} parameters on this rank, vocabulary {model.vocab_size:,} "
            f"padded to {model.padded_vocab_size(grid.tp.size):,}, {training.precision}",
            f"shape: {model.num_layers} layers of width {model.hidden_size:,}, MLP {model.ffn_hidden_size:,}, "
            f"{model.num_attention_heads} heads ({model.query_groups} of keys and values) of {model.head_dim}",
            f"layout: {grid.world.size} processes on {grid.device.type}, {layout}; optimizer {optimizer}",
            f"batch: {training.micro_batch_size} × {grid.dp.size} dp, {training.global_batch_size} samples of "
            f"{training.seq_length} tokens per step; {components.batch_size.total_steps:,} steps, "
            f"{components.batch_size.total_tokens:,} tokens",
            *_products(training.precision, grid.device.type),
            components.datasets.describe(),
        ]
    )


def _products(precision: str, device_type: str) -> list[str]:
    """How matrices are multiplied where that is not in the run's precision."""
    dtype = param_dtype(precision)
    if device_type != "cpu" or not cpu_products.in_fp32(torch.empty(0, dtype=dtype)):
        return []
    return [f"matmuls: stored in {precision}, multiplied by {cpu_products.how(dtype)}"]


def set_up_logging(rank: int) -> None:
    """Log lines of the main rank; only warnings, with their rank, of the others."""
    level = logging.INFO if rank == 0 else logging.WARNING
    prefix = "" if rank == 0 else f"[rank {rank}] "
    logging.basicConfig(level=level, format=prefix + "%(message)s", stream=sys.stdout, force=True)
