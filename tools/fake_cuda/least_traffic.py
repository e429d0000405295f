"""The least that the operations between the matmuls read and write in the device's memory, by kind.

Each fused operation reads its inputs once and writes its outputs once, and nothing else exists. Per token of the whole
sequence, in elements; letters of :mod:`steel_megatron.model.cost`, C = (N + 2 K) D, R = (N + K) D:

    kind               forward                                  backward
    embedding          row in, row out              2 H         gradient in; fp32 rows of its gradient in and out
    residual + norm    two in, sum and normed out   4 Hs        gradients of both and the sum in, one out     4 Hs
                       the first norm has nothing to add: 2 Hs; the last has no gradient of its sum: 3 Hs
    qk-norm + RoPE     queries and keys, in and out 2 R         gradients in, that of the projection out      2 C
                                                                with norms, what was normed in                R
    activation         gate and up in, product out  3 F         gradient, gate and up in, those of both out   5 F
                       without a gate               2 F                                                       3 F
    cross entropy      logits in                      V         logits in, gradient out                       2 V
    linear layers      with 8 bits alone: the largest magnitude of a tensor, then the tensor in, two copies out

Attention and the matmuls themselves are not among them. Statistics of rows are left out: they are a thousandth.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from fake_cuda.scopes import CROSS_ENTROPY, EMBEDDING, NORM
from steel_megatron.config import ModelConfig
from steel_megatron.model.attention.kinds import attention_of
from steel_megatron.model.cost import FP32, INT64, LINEAR, Sizes
from steel_megatron.model.ffn.kinds import feed_forward_of
from steel_megatron.parallel.pipeline.layout import StageLayers

ZERO, OPTIMIZER = "zero gradients", "optimizer"


def block_traffic(model: ModelConfig, layer: int, sizes: Sizes) -> Counter[str]:
    """Elements per token, by kind."""
    attention, feed_forward = attention_of(model, layer), feed_forward_of(model, layer)
    norms = Counter({NORM: 2 * (4 + 4) * sizes.Hs})
    return attention.traffic(model, sizes) + feed_forward.traffic(model, sizes) + norms


def micro_batch_traffic(model: ModelConfig, sizes: Sizes, part: StageLayers, tokens: int, width: int) -> Counter[str]:
    """Bytes of one micro-batch's forward and backward pass through a chunk of the model, on one rank, by kind.

    Args:
        part: the blocks of the chunk, and whether it has embedding and head.
        tokens: of the micro-batch, whole sequences.
        width: bytes of an activation.
    """
    blocks: Counter[str] = sum((block_traffic(model, layer, sizes) for layer in part.layers), Counter())
    elements = defaultdict[str, float](float, blocks)
    if part.layers:
        elements[NORM] -= 2 * sizes.Hs  # the first norm has nothing to add
        elements[NORM] += 0 if part.last else 3 * sizes.Hs  # the last sum, which no norm of this chunk reads
    if part.last:
        elements[NORM] += (4 + 3 if part.layers else 2 + 3) * sizes.Hs
        elements[CROSS_ENTROPY] += (1 + 2) * sizes.V
    eight_bit = elements.pop(LINEAR, 0.0)
    found = Counter({kind: int(count * tokens * width) for kind, count in elements.items()})
    if part.first:
        rows = min(tokens, sizes.V)
        found[EMBEDDING] += (2 + 1) * tokens * sizes.H * width + 2 * FP32 * rows * sizes.H + 2 * INT64 * tokens
    if sizes.eight_bit:
        found[LINEAR] += int(eight_bit * tokens * (2 * width + 2))
    return found


def step_traffic(buffered: int, updated: int, width: int, moments: int, block_matrices: int = 0) -> Counter[str]:
    """Bytes of what is done once per optimizer step on one rank, by kind.

    Args:
        buffered: elements of the gradient buffer.
        updated: of them those that this rank updates.
        width: bytes of a weight.
        moments: bytes of both moments of an element.
        block_matrices: elements of the weights that are rounded to 8 bits.
    """
    masters = 2 * FP32 if width < FP32 else 0
    weights = width if width < FP32 else 2 * width
    found = Counter({ZERO: FP32 * buffered})
    # The norm reads the gradient; then gradient, master and moments in, master, moments and weight out.
    found[OPTIMIZER] = updated * (FP32 + FP32 + masters + 2 * moments + weights)
    if block_matrices:
        found[LINEAR] = block_matrices * (2 * width + 2)
    return found
