"""Builds a run from its configuration: data, model, gradient buffers, optimizer, and the state it starts from."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from steel_megatron.checkpoint.rng import restore_random_state
from steel_megatron.config import CheckpointError, RunConfig
from steel_megatron.config.optimizer import OPTIMIZERS
from steel_megatron.config.registry import split
from steel_megatron.model.block import use_pieces
from steel_megatron.model.gpt import GPT
from steel_megatron.model.pieces import Pieces
from steel_megatron.model.recompute import Recompute
from steel_megatron.model.slices import WEIGHT, model_slices
from steel_megatron.model.stages import stage_layers
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.optim.optimizer import MASTER, Optimizer
from steel_megatron.optim.rule import rule_of
from steel_megatron.optim.schedule import LearningRate
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import TensorSlice, param_dtype, parameters_with_spec
from steel_megatron.samples.build import Datasets, build_datasets
from steel_megatron.samples.loader import Loader
from steel_megatron.samples.mixing.phases import check_resume
from steel_megatron.samples.sources import TokenizerFacts
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.training.cuda_graph import cuda_graph
from steel_megatron.training.engine import Engine
from steel_megatron.training.startup.changes import cut_changes
from steel_megatron.training.startup.host_memory import keep_freed_memory
from steel_megatron.training.startup.kernels import choose_kernels
from steel_megatron.training.startup.precision import linears_maker
from steel_megatron.training.startup.start import Start
from steel_megatron.training.state import RunState

log = logging.getLogger(__name__)


@dataclass
class Components:
    """What a trainer works with."""

    grid: Grid
    chunks: list[GPT]  # this rank's part of the model: one, or several with the interleaved schedule
    data_parallel: DataParallel
    engine: Engine
    optimizer: Optimizer
    learning_rate: LearningRate
    batch_size: BatchSize
    datasets: Datasets

    def micro_batches(self, samples: int) -> int:
        """Micro-batches of each data-parallel rank in a global batch."""
        return samples // (self.train_data.micro_batch_size * self.grid.dp.size)

    @property
    def train_data(self) -> Loader:
        return self.datasets.train

    @property
    def valid_data(self) -> Loader | None:
        return self.datasets.valid


def build_data(
    config: RunConfig,
    grid: Grid,
    tokenizer: Tokenizer | None,
    batch_size: BatchSize,
    state: RunState,
    recorded_phases: Sequence[Mapping[str, Any]] = (),
    next_sample: int | None = None,
) -> Datasets:
    """Opens the data; ``datasets.tokenizer`` tells the vocabulary where the configuration leaves it open.

    Args:
        recorded_phases: of the checkpoint that the run continues.
        next_sample: of the order, the first that is not used yet; where none is left out, as many as are used.
    """
    known = TokenizerFacts(vocab_size=config.model.vocab_size)
    if tokenizer is not None:
        size = config.model.vocab_size or tokenizer.vocab_size
        known = TokenizerFacts(tokenizer.fingerprint, size, tokenizer.eod_id)
    return build_datasets(
        config,
        total_samples=batch_size.total_samples,
        dp_rank=grid.dp.rank,
        dp_size=grid.dp.size,
        device=grid.device,
        tokenizer=known,
        consumed_samples=state.consumed_samples if next_sample is None else next_sample,
        recorded_phases=recorded_phases,
        batch_size_at=batch_size.global_batch_at,
    )


def build_components(
    config: RunConfig, grid: Grid, batch_size: BatchSize, datasets: Datasets, initialise: bool
) -> Components:
    """Model and optimizer; ``initialise`` False leaves the weights to a checkpoint."""
    training, parallel = config.training, config.parallel
    choose_kernels(training, grid, config.model)
    if grid.device.type == "cpu":
        keep_freed_memory()
    learning_rate = LearningRate(config.optimizer, training, batch_size)
    dtype = param_dtype(training.precision)
    chunks = build_chunks(config, grid, training.seed if initialise else None)
    if training.compile_blocks:
        use_pieces([chunk.blocks for chunk in chunks], Pieces(grid.device))
    if not initialise:
        with torch.no_grad():
            for parameter in parameters_with_spec(chunks):
                parameter.zero_()  # a vocabulary's padding is in no checkpoint
    shard = parallel.use_distributed_optimizer
    graph = cuda_graph(grid.device) if training.enable_cuda_graph else None
    with nullcontext() if graph is None else graph.beside():
        data_parallel = DataParallel(
            chunks,
            grid,
            shard=grid.dp.size > 1 if shard is None else shard,
            grad_dtype=torch.float32 if training.accumulate_allreduce_grads_in_fp32 else dtype,
            bucket_size=parallel.bucket_size,
            whole=rule_of(config.optimizer).whole,
            overlap_grad_reduce=parallel.overlap_grad_reduce,
            overlap_param_gather=parallel.overlap_param_gather,
        )
    optimizer = Optimizer(data_parallel, config.optimizer, training, grid)
    engine = Engine(chunks, data_parallel, grid, training, parallel, graph)
    return Components(grid, chunks, data_parallel, engine, optimizer, learning_rate, batch_size, datasets)


def build_chunks(config: RunConfig, grid: Grid, seed: int | None) -> list[GPT]:
    """This rank's chunks of the model, in order."""
    parts = stage_layers(config.model, config.parallel, config.training.seq_length)[grid.pp.rank]
    make_linears = linears_maker(config, grid)
    return [
        GPT(
            config.model,
            grid,
            dtype=param_dtype(config.training.precision),
            layers=part.layers,
            first=part.first,
            last=part.last,
            seed=seed,
            recompute=Recompute.of(config.training),
            linears=make_linears(),
        )
        for part in parts
    ]


def load_start(config: RunConfig, components: Components, start: Start) -> None:
    """Fills model, optimizer and random states from the checkpoint that the run starts from."""
    if start.store is None:
        return
    whole = not start.weights_only and not config.checkpoint.no_load_optim
    blocks = model_slices(components.chunks)
    if not start.weights_only:
        used = components.train_data.reader.skips.frontier(start.facts["state"]["consumed_samples"])
        cuts = cut_changes(start.facts["config"], config)
        check_resume(start.facts["phases"], components.datasets.phases, used, cuts)
    if whole:
        _check_rule(config.optimizer.optimizer, start)
        blocks |= components.optimizer.slices()
    start.store.load(start.step, as_stored(blocks, start.store.tensors(start.step)))
    if whole:
        components.optimizer.load_scalars(start.facts["optimizer"])
        components.optimizer.reload_parameters()
    else:
        components.optimizer.reset_masters()
    random_state = None if start.weights_only or config.checkpoint.no_load_rng else start.store.random_state(start.step)
    if random_state is not None:
        restore_random_state(random_state)
    log.info("%s %s, step %d", "weights from" if start.weights_only else "continuing", start.store.root, start.step)


def _check_rule(now: str, start: Start) -> None:
    """Refuses to continue with the state of another optimizer."""
    before = start.facts["config"]["optimizer"].get("optimizer", "adam")
    was, rule = (OPTIMIZERS.shipped.get(name, name) for name in (split(before)[0], split(now)[0]))
    if was != rule:
        raise CheckpointError(
            f"--optimizer {now}, and the checkpoint of step {start.step} holds the state of {before}",
            rule="a run is continued with the state of its own optimizer, or with none",
            fix=f"--optimizer '{before}', or --no-load-optim, which starts the state anew",
        )


def as_stored(blocks: dict[str, TensorSlice], stored: Container[str]) -> dict[str, list[TensorSlice]]:
    """The blocks by the names of the stored tensors that they are read from.

    The two differ when the precision has changed: a run in fp32 has no masters, so its weights are read from the
    masters of a bf16 run; and the masters of a bf16 run from the weights of an fp32 run.
    """
    named: dict[str, list[TensorSlice]] = {}
    for name, block in blocks.items():
        if name.startswith(WEIGHT) and block.tensor.dtype == torch.float32:
            master = MASTER + name.removeprefix(WEIGHT)
            name = master if master in stored else name
        elif name.startswith(MASTER) and name not in stored:
            name = WEIGHT + name.removeprefix(MASTER)
        named.setdefault(name, []).append(block)
    return named
