"""Memory per device of a run on any layout, from the model and the schedule that the run would use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from steel_megatron.config import ModelConfig, ParallelConfig, RunConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.model.stages import stage_layers
from steel_megatron.optim.rule import rule_of
from steel_megatron.parallel.data.buckets import items_of, plan_buckets, shard_rows
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.parameter import param_dtype, parameters_with_spec, spec_of
from steel_megatron.parallel.pipeline.actions import Schedule
from steel_megatron.parallel.pipeline.layout import StageLayers
from steel_megatron.plan.activations import chunk_cost, peak_of
from steel_megatron.plan.pipeline import planned_schedule

FP32 = 4  # bytes


@dataclass(frozen=True)
class Memory:
    """Bytes on the devices of one pipeline rank at the fullest moment of a step."""

    pipeline_rank: int
    weights: int
    gradients: int
    masters: int
    moments: int
    activations: int  # kept from forward to backward passes
    working: int  # temporaries beside them

    @property
    def optimizer(self) -> int:
        return self.masters + self.moments

    @property
    def states(self) -> int:
        """What is there all the time."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        return self.states + self.activations + self.working


def estimate_memory(config: RunConfig, devices: int = 1) -> Memory:
    """What weights, gradients, optimizer and activations take on the fullest device.

    The allocator's fragmentation, communication buffers and the libraries' workspaces come on top: some GB on a GPU.
    ``devices`` is a multiple of tensor × pipeline; the rest is data parallel.
    """
    schedule = planned_schedule(config, devices)
    return max((rank_memory(config, devices, schedule, r) for r in range(schedule.ranks)), key=lambda m: m.total)


def rank_memory(config: RunConfig, devices: int, schedule: Schedule, rank: int) -> Memory:
    """The same for the devices of one pipeline rank."""
    model, training, parallel = config.model, config.training, config.parallel
    grid = planned_grid(parallel, rank)
    dp = devices // (grid.tp.size * grid.pp.size)
    parts = stage_layers(model, parallel, training.seq_length)[rank]
    parameters = parameters_with_spec([meta_stage(model, grid, part) for part in parts])
    width = param_dtype(training.precision).itemsize
    rule = rule_of(config.optimizer)
    sharded = parallel.use_distributed_optimizer is not False and dp > 1
    buffered, updated = buffer_elements(parameters, dp if sharded else 1, parallel.bucket_size, rule.whole)
    specs = [spec_of(parameter) for parameter in parameters]
    masters = [sum(n * spec.row_numel for n, spec in zip(rows, specs, strict=True)) * FP32 for rows in updated]
    states = [
        sum(state.bytes(n, spec.row_numel) for n, spec in zip(rows, specs, strict=True) for state in rule.states(spec))
        for rows in updated
    ]
    fullest = max(range(len(updated)), key=lambda shard: masters[shard] + states[shard])
    weights = width * (buffered if sharded else sum(parameter.numel() for parameter in parameters))
    if training.fp8_format is not None:
        weights += 2 * sum(parameter.numel() for parameter in parameters if _in_8_bits(parameter))  # and transposed
    peak = peak_of(schedule.actions[rank], [chunk_cost(config, part) for part in parts])
    return Memory(
        pipeline_rank=rank,
        weights=weights,
        gradients=buffered * (FP32 if training.accumulate_allreduce_grads_in_fp32 else width),
        masters=masters[fullest] if width < FP32 else 0,
        moments=states[fullest],
        activations=peak.kept,
        working=peak.working,
    )


def _in_8_bits(parameter: nn.Parameter) -> bool:
    """Whether ``--fp8-format`` rounds it: the matrices of the blocks."""
    return parameter.dim() == 2 and spec_of(parameter).pieces[0].name.startswith("blocks.")


def buffer_elements(
    parameters: Sequence[nn.Parameter], shards: int, bucket_size: int, whole: Collection[str] = ()
) -> tuple[int, list[list[int]]]:
    """(elements of the gradient buffer with its padding, for each shard the rows of each parameter that it updates)."""
    items = items_of(parameters, lambda _: shards, whole)
    buckets = plan_buckets(items, bucket_size)
    rows = [[0] * len(parameters) for _ in range(shards)]
    for bucket in buckets:
        for place, number in enumerate(bucket.items):
            for shard in range(shards):
                rows[shard][number] = shard_rows(bucket, place, items[number], shard)[1]
    return sum(bucket.numel for bucket in buckets), rows


def planned_grid(parallel: ParallelConfig, pipeline_rank: int = 0) -> Grid:
    """A place in the grid without processes: enough to build a stage on the meta device."""
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    return Grid(
        Axis("tp", tp, 0, None, tuple(range(tp))),
        Axis("dp"),
        Axis("pp", pp, pipeline_rank, None, tuple(range(pp))),
        Axis("world"),
        torch.device("meta"),
        sequence_parallel=parallel.sequence_parallel and tp > 1,
    )


def meta_stage(model: ModelConfig, grid: Grid, part: StageLayers) -> GPT:
    """A chunk of the model, shapes only."""
    return GPT(model, grid, dtype=torch.bfloat16, layers=part.layers, first=part.first, last=part.last)
