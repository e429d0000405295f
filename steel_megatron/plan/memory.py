"""Memory per device of a run on any layout, from the model and the schedule that the run would use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from steel_megatron.config import ModelConfig, ParallelConfig, RunConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.model.recompute import Recompute
from steel_megatron.model.stages import stage_layers
from steel_megatron.parallel.mesh import Axis, Mesh
from steel_megatron.parallel.pipeline.actions import Action, Kind, Schedule
from steel_megatron.parallel.pipeline.layout import StageLayers
from steel_megatron.parallel.spec import param_dtype, parameters_with_spec
from steel_megatron.plan.pipeline import planned_schedule

FP32 = 4  # bytes


@dataclass(frozen=True)
class Memory:
    """Bytes on the devices of one pipeline rank."""

    pipeline_rank: int
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate_memory(config: RunConfig, devices: int = 1) -> Memory:
    """What weights, gradients, optimizer (fp32 masters, two moments) and kept activations take on the fullest device.

    The allocator's fragmentation, communication buffers and the libraries' workspaces come on top: some GB on a GPU.
    ``devices`` is a multiple of tensor × pipeline; the rest is data parallel.
    """
    schedule = planned_schedule(config, devices)
    return max((rank_memory(config, devices, schedule, r) for r in range(schedule.ranks)), key=lambda m: m.total)


def rank_memory(config: RunConfig, devices: int, schedule: Schedule, rank: int) -> Memory:
    """The same for the devices of one pipeline rank."""
    model, training, parallel = config.model, config.training, config.parallel
    mesh = planned_mesh(parallel, rank)
    dp = devices // (mesh.tp.size * mesh.pp.size)
    parts = stage_layers(model, parallel, training.seq_length)[rank]
    chunks = [meta_stage(model, mesh, part) for part in parts]
    elements = sum(parameter.numel() for parameter in parameters_with_spec(chunks))
    width = param_dtype(training.precision).itemsize
    sharded = parallel.use_distributed_optimizer is not False and dp > 1
    states = 2 * FP32 + (FP32 if width < FP32 else 0)
    grads = FP32 if training.accumulate_allreduce_grads_in_fp32 else width
    costs = [chunk_elements(model, parallel, Recompute.of(training), part) for part in parts]
    activations = peak_elements(schedule.actions[rank], costs)
    return Memory(
        pipeline_rank=rank,
        weights=elements * width,
        gradients=elements * grads,
        optimizer=elements * states // (dp if sharded else 1),
        activations=activations * training.micro_batch_size * training.seq_length * width,
    )


def planned_mesh(parallel: ParallelConfig, pipeline_rank: int = 0) -> Mesh:
    """A place in the grid without processes: enough to build a stage on the meta device."""
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    return Mesh(
        Axis("tp", tp, 0, None, tuple(range(tp))),
        Axis("dp"),
        Axis("pp", pp, pipeline_rank, None, tuple(range(pp))),
        Axis("world"),
        torch.device("meta"),
        sequence_parallel=parallel.sequence_parallel and tp > 1,
    )


def meta_stage(model: ModelConfig, mesh: Mesh, part: StageLayers) -> GPT:
    """A chunk of the model, shapes only."""
    return GPT(model, mesh, dtype=torch.bfloat16, layers=part.layers, first=part.first, last=part.last)


def peak_elements(actions: Iterable[Action], chunks: Sequence[tuple[int, int]]) -> int:
    """Most elements kept at one time, following a rank's schedule action by action.

    ``chunks``: for each what a forward pass keeps until its backward pass is over, and what that makes again meanwhile.
    """
    live = peak = 0
    for action in actions:
        kept, again = chunks[action.chunk]
        if action.kind is Kind.FORWARD:
            live += kept
            peak = max(peak, live)
        elif action.kind is Kind.BACKWARD:
            peak = max(peak, live + again)
            live -= kept
    return peak


def chunk_elements(
    model: ModelConfig, parallel: ParallelConfig, recompute: Recompute, part: StageLayers
) -> tuple[int, int]:
    """Elements per token that a chunk's forward pass keeps, and those that its backward pass makes again at one time.

    Per block: four rows of the residual stream's width (the inputs of both norms and their outputs); queries, keys and
    values as projected; queries and keys as rotated (or normalised); the attention's output; three (gated) or two rows
    of the MLP's width. Full recomputation keeps one row per group of blocks; selective gives up what lies between the
    attention's projections. The last chunk adds two rows and the logits. Tensor parallel divides all but the residual
    stream's rows, sequence parallel those too.
    """
    tp = parallel.tensor_model_parallel_size
    residual = math.ceil(model.hidden_size / (tp if parallel.sequence_parallel else 1))
    queries = model.num_attention_heads // tp * model.head_dim
    keys = max(model.query_groups // tp, 1) * model.head_dim
    inner = (3 if model.gated else 2) * model.ffn_hidden_size // tp
    around = 4 * residual + 2 * queries + 2 * keys + inner
    core = queries + keys if model.position_embedding_type == "rope" or model.qk_layernorm else 0
    head = 2 * residual + model.padded_vocab_size(tp) // tp if part.last else 0
    if recompute.attention:
        return len(part.layers) * around + head, core
    kept, largest = 0, 0
    for group, again in recompute.groups(part.layers):
        kept += residual if again else len(group) * (around + core)
        largest = max(largest, len(group) * (around + core) if again else 0)
    return kept + head, largest
