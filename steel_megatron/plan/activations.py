"""Activations of a pipeline rank at the fullest moment of a step: what is kept, and the temporaries beside it.

Bytes; T tokens of a micro-batch, letters of sizes as in :mod:`steel_megatron.model.activations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steel_megatron.config import RunConfig
from steel_megatron.model.activations import (
    FP32,
    Sizes,
    chunk_kept,
    embedding_kept,
    head_kept,
    micro_batch_kept,
    total_bytes,
)
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


def chunk_cost(config: RunConfig, part: StageLayers) -> ChunkCost:
    """What one chunk keeps of a micro-batch."""
    model, training, parallel = config.model, config.training, config.parallel
    tp = parallel.tensor_model_parallel_size
    sequence_parallel = parallel.sequence_parallel and tp > 1
    sizes = Sizes.of(model, tp, sequence_parallel, training.seq_length, training.fp8_format is not None)
    width = param_dtype(training.precision).itemsize
    tokens = training.micro_batch_size * training.seq_length
    recompute = Recompute.of(training)
    blocks, again = chunk_kept(model, recompute, sizes, width, part.layers)
    blocks += total_bytes(micro_batch_kept(model, config.data.reset_position_ids), width)
    if part.first:
        blocks += total_bytes(embedding_kept(model, sizes, tensor_parallel=tp), width)
    cost = ChunkCost(
        blocks=round(blocks * tokens),
        again=round(again * tokens),
        block_working=_block_working(config, sizes, width, tokens, recompute.activation),
    )
    if not part.last:
        return cost
    chunk = strip_tokens(sizes.V, width, device_type(config), tokens)
    chunked = tokens > chunk
    # The chunk's logits, and the head's normalised input beside the gradient that takes its place.
    head_working = min(chunk, tokens) * sizes.V * width + tokens * sizes.Hs * width if chunked else 0
    head_working += 0 if chunked else tokens * sizes.H * width  # the gradient of the head's input
    if device_type(config) == "cuda":
        head_working += 2 * FP32 * min(GPU_ELEMENTS, tokens * sizes.V)
    head_working += _gradient_copies(config, min(chunk, tokens), sizes.V, sizes.H)
    if sequence_parallel:
        # The gathered input, and the gradient on its way.
        head_working += 2 * sizes.H * width * tokens
    return ChunkCost(
        cost.blocks,
        head=round(total_bytes(head_kept(model, sizes, chunked=chunked), width) * tokens),
        again=cost.again,
        block_working=cost.block_working,
        head_working=round(head_working),
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


def _block_working(config: RunConfig, s: Sizes, width: int, tokens: int, activation_again: bool) -> int:
    """The most that the MLP's backward pass has beside what is kept; the attention's comes when the MLP's is free.

    dy (the residual's gradient) and the gradients of the activation's output and input; when the latter is there, the
    kept output is free, unless it was not kept but made again. Before that, the down projection's weight gradient.
    """
    rows = s.Hs + (s.H if config.parallel.tensor_model_parallel_size > 1 else 0)  # gathered or summed over the ranks
    rows += s.F if activation_again else 0
    wide = (2 if config.model.gated else 1) * s.F
    rounded = 2 * tokens if s.eight_bit else 0  # a gradient in 8 bits, by rows and transposed
    gradient = _gradient_copies(config, tokens, s.H, s.F)
    if s.eight_bit:  # an fp32 copy; on a GPU that adds inside the matmul, the workspace in its place
        gradient = max(FP32 * s.H * s.F, WORKSPACE_BYTES if device_type(config) == "cuda" else 0)
    before = (rows + s.F) * width * tokens + s.H * rounded + gradient
    after = (rows + wide) * width * tokens + wide * rounded
    return round(max(before, after))
