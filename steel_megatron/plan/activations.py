"""Activations of a pipeline rank at the fullest moment of a step: what is kept, and the temporaries beside it.

Bytes; T tokens of a micro-batch, letters of sizes as in :mod:`steel_megatron.model.cost`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steel_megatron.config import RunConfig
from steel_megatron.model.activations import chunk_kept
from steel_megatron.model.cost import FP32, Passes, Sizes, total_bytes
from steel_megatron.model.ends_cost import embedding_kept, head_kept, head_working, micro_batch_kept
from steel_megatron.model.ffn.kinds import feed_forward_of
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops.cpu_products import cpu_in_fp32
from steel_megatron.ops.cross_entropy import GPU_ELEMENTS
from steel_megatron.ops.matmul import working_elements
from steel_megatron.ops.native.scaled_matmul import WORKSPACE_BYTES
from steel_megatron.ops.strips import CPU_ELEMENTS
from steel_megatron.parallel.parameter import param_dtype
from steel_megatron.parallel.pipeline.actions import Action, Kind
from steel_megatron.parallel.pipeline.layout import StageLayers
from steel_megatron.parallel.tensor.linear_cross_entropy import strip_tokens


@dataclass(frozen=True)
class ChunkCost:
    """Bytes of one micro-batch on one chunk of the model."""

    blocks: int  # kept from forward to backward by embedding and blocks, with the micro-batch itself
    head: int = 0  # kept by final norm, head and loss
    again: int = 0  # made again by recomputation, at one time
    block_working: int = 0  # temporaries of a block's backward pass
    head_working: int = 0  # temporaries of the head, in forward or backward

    @property
    def kept(self) -> int:
        return self.blocks + self.head


@dataclass(frozen=True)
class Peak:
    """The fullest moment: what forward passes keep, and what else there is."""

    kept: int
    working: int

    @property
    def total(self) -> int:
        return self.kept + self.working


def peak_of(actions: Iterable[Action], chunks: Sequence[ChunkCost]) -> Peak:
    """Follows a rank's schedule action by action."""
    live = 0
    peak = Peak(0, 0)
    for action in actions:
        cost = chunks[action.chunk]
        if action.kind is Kind.FORWARD:
            live += cost.kept
            moments = [Peak(live, cost.head_working)]
        elif action.kind is Kind.BACKWARD:
            moments = [Peak(live, cost.head_working), Peak(live - cost.head, cost.again + cost.block_working)]
            live -= cost.kept
        else:
            continue
        peak = max(peak, *moments, key=lambda moment: moment.total)
    return peak


def run_sizes(config: RunConfig) -> Sizes:
    """The sizes of one tensor-parallel rank of a run."""
    training, tp = config.training, config.parallel.tensor_model_parallel_size
    sequence_parallel, eight_bit = config.parallel.sequence_parallel and tp > 1, training.fp8_format is not None
    by_strips = device_type(config) == "cpu"
    return Sizes.of(config.model, tp, sequence_parallel, training.seq_length, eight_bit, by_strips)


def chunk_cost(config: RunConfig, part: StageLayers) -> ChunkCost:
    """What one chunk keeps of a micro-batch."""
    model, training, parallel = config.model, config.training, config.parallel
    tp = parallel.tensor_model_parallel_size
    sizes = run_sizes(config)
    width = param_dtype(training.precision).itemsize
    tokens = training.micro_batch_size * training.seq_length
    recompute = Recompute.of(training)
    passes = Passes(tokens, width, tp, functools.partial(_gradient_copies, config))
    blocks, again = chunk_kept(model, recompute, sizes, width, part.layers)
    blocks += total_bytes(micro_batch_kept(model, config.data.reset_position_ids), width)
    if part.first:
        blocks += total_bytes(embedding_kept(model, sizes, tensor_parallel=tp), width)
    workspace = WORKSPACE_BYTES if device_type(config) == "cuda" else 0
    # The most is a feed-forward part's; the attention's comes when what that part kept is free.
    kinds = {feed_forward_of(model, layer) for layer in part.layers}
    working = (kind.working(model, sizes, passes, again=recompute.activation, workspace=workspace) for kind in kinds)
    cost = ChunkCost(round(blocks * tokens), again=round(again * tokens), block_working=max(working, default=0))
    if not part.last:
        return cost
    strip = strip_tokens(sizes.V, width, device_type(config), tokens)
    exact = min(GPU_ELEMENTS, tokens * sizes.V) if device_type(config) == "cuda" else 0
    return dataclasses.replace(
        cost,
        head=round(total_bytes(head_kept(model, sizes, chunked=tokens > strip), width) * tokens),
        head_working=head_working(sizes, passes, strip=strip, exact=exact),
    )


def device_type(config: RunConfig) -> str:
    """What is planned for: a GPU unless the configuration says CPU."""
    return "cpu" if config.training.device == "cpu" else "cuda"


def _gradient_copies(config: RunConfig, tokens: int, rows: int, features: int) -> int:
    """Bytes of a weight's gradient before it is added to the buffer, a part of it in fp32; a GPU's matmul adds it.

    Where a CPU multiplies 16-bit matrices in fp32: what is cast of them at a time, and no copy of the gradient.
    """
    dtype, elements = param_dtype(config.training.precision), rows * features
    if device_type(config) == "cpu" and cpu_in_fp32(dtype):
        return FP32 * working_elements(tokens, rows, features)
    width = dtype.itemsize
    exact = config.training.accumulate_allreduce_grads_in_fp32 and width < FP32
    if not exact or device_type(config) != "cpu":
        return 0
    return elements * width + FP32 * min(elements, 8 * CPU_ELEMENTS)
