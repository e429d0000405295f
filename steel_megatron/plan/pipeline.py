"""How a model runs through its pipeline: what each stage holds, how long a global batch takes, how much is bubble."""

from __future__ import annotations

from steel_megatron.config import ConfigError, RunConfig
from steel_megatron.config.check import check_batch, check_pipeline
from steel_megatron.model.stages import layer_costs, stage_layers
from steel_megatron.parallel.pipeline.draw import title
from steel_megatron.parallel.pipeline.layout import stage_costs
from steel_megatron.parallel.pipeline.passes import Costs
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.parallel.pipeline.timeline import Timeline, simulate


def pipeline_timeline(config: RunConfig, devices: int) -> Timeline:
    """The schedule of one global batch on one model replica, with times by FLOPs and free communication.

    The unit of time is a block's forward pass. Backward takes twice the forward, three times with full recomputation.

    Args:
        config: the run; without a global batch size it has four micro-batches per stage.
        devices: of the whole run; what tensor and pipeline parallel leave over is data parallel.

    Raises:
        ConfigError: layers or batch cannot be divided like that.
    """
    model, training, parallel = config.model, config.training, config.parallel
    check_pipeline(parallel)
    ranks = parallel.pipeline_model_parallel_size
    replica = parallel.tensor_model_parallel_size * ranks
    if devices % replica:
        raise ConfigError(
            f"--devices {devices} for tensor {parallel.tensor_model_parallel_size} × pipeline {ranks}",
            rule="the number of devices is a multiple of tensor × pipeline",
            fix=f"use a multiple of {replica}",
        )
    micro_batches = 4 * ranks
    if training.global_batch_size is not None:
        dp = devices // replica
        check_batch(training.global_batch_size, training.micro_batch_size, dp, "--global-batch-size")
        micro_batches = training.global_batch_size // (training.micro_batch_size * dp)
    parts = stage_layers(model, parallel, training.seq_length)
    costs = layer_costs(model, training.seq_length)
    forward = tuple(cost / costs.block for cost in stage_costs(parts, costs))
    times = 3 if training.recompute_granularity == "full" else 2
    chunks = len(parts[0])
    name = "interleaved" if parallel.pipeline_schedule == "1f1b" and chunks > 1 else parallel.pipeline_schedule
    schedule = build_schedule(name, ranks, micro_batches, chunks)
    return simulate(schedule, Costs(forward, tuple(times * cost for cost in forward), forward))


def pipeline_report(config: RunConfig, timeline: Timeline) -> str:
    """The schedule in a line, and a line per rank: its layers, the time it computes, the graphs it keeps."""
    lines = [title(timeline), ""]
    parts = stage_layers(config.model, config.parallel, config.training.seq_length)
    for rank, row in enumerate(parts):
        held = "; ".join(
            ", ".join(["embedding"] * part.first + _names(part.layers) + ["head"] * part.last) for part in row
        )
        share, keeps = timeline.busy(rank) / timeline.length, timeline.schedule.peak_live[rank]
        lines.append(f"rank {rank}: {held}; computes {share:.1%} of the time, keeps {keeps} micro-batches of a chunk")
    return "\n".join(lines)


def _names(layers: range) -> list[str]:
    if len(layers) < 2:
        return [f"layer {layer}" for layer in layers]
    return [f"layers {layers[0]}–{layers[-1]}"]
