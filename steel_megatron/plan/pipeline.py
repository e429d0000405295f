"""How a model runs through its pipeline: what each stage holds, how long a global batch takes, how much is bubble."""

from __future__ import annotations

from steel_megatron.config import RunConfig, check_batch, check_layout
from steel_megatron.model.stages import layer_costs, stage_layers
from steel_megatron.parallel.pipeline.actions import Schedule
from steel_megatron.parallel.pipeline.layout import stage_costs
from steel_megatron.parallel.pipeline.passes import Costs
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.parallel.pipeline.timeline import Timeline, simulate


def planned_schedule(config: RunConfig, devices: int) -> Schedule:
    """The schedule of one global batch on one model replica; with one pipeline stage, one micro-batch after the other.

    Args:
        config: the run; without a global batch size it has four micro-batches per stage.
        devices: of the whole run; what tensor and pipeline parallel leave over is data parallel.

    Raises:
        ConfigError: devices, layers or batch cannot be divided like that.
    """
    training, parallel = config.training, config.parallel
    check_layout(config.model, parallel, devices)
    ranks = parallel.pipeline_model_parallel_size
    micro_batches = 4 * ranks
    if training.global_batch_size is not None:
        dp = devices // (parallel.tensor_model_parallel_size * ranks)
        check_batch(training.global_batch_size, training.micro_batch_size, dp, "--global-batch-size")
        micro_batches = training.global_batch_size // (training.micro_batch_size * dp)
    chunks = len(stage_layers(config.model, parallel, training.seq_length)[0])
    name = "interleaved" if parallel.pipeline_schedule == "1f1b" and chunks > 1 else parallel.pipeline_schedule
    return build_schedule(name, ranks, micro_batches, chunks)


def pipeline_timeline(config: RunConfig, devices: int) -> Timeline:
    """The schedule with times by FLOPs and free communication.

    The unit of time is a block's forward pass, on the mean. Backward takes twice the forward, three times with full
    recomputation.
    """
    schedule = planned_schedule(config, devices)
    model, training = config.model, config.training
    costs = layer_costs(model, training.seq_length)
    parts = stage_layers(model, config.parallel, training.seq_length)
    forward = tuple(cost / costs.mean_block for cost in stage_costs(parts, costs))
    times = 3 if training.recompute_granularity == "full" else 2
    return simulate(schedule, Costs(forward, tuple(times * cost for cost in forward), forward))


def pipeline_report(config: RunConfig, timeline: Timeline) -> str:
    """The schedule in a line, and a line per rank: its layers, the time it computes, the graphs it keeps."""
    lines = [timeline.title, ""]
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
