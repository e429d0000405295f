"""What the ends of the model take: the micro-batch, the embedding, and final norm, head and loss."""

from __future__ import annotations

import dataclasses
from collections import Counter

from steel_megatron.config import ModelConfig
from steel_megatron.model.cost import (
    FP32,
    INT64,
    Flops,
    Kept,
    Passes,
    Sizes,
    dropout_kept,
    norm_kept,
    norm_parameters,
)


def ends_parameters(model: ModelConfig) -> Counter[str]:
    """Elements by module: embedding, head, norms, padding; a tied head counts once, as embedding."""
    assert model.vocab_size is not None
    matrices = 1 if model.tied else 2
    positions = model.max_position_embeddings if model.position_embedding_type == "learned_absolute" else 0
    return Counter(
        embedding=(model.vocab_size + positions) * model.hidden_size,
        head=(matrices - 1) * model.vocab_size * model.hidden_size,
        norms=norm_parameters(model, model.hidden_size),
        padding=matrices * (model.padded_vocab_size() - model.vocab_size) * model.hidden_size,
    )


def head_flops(model: ModelConfig) -> Flops:
    """The head is a matmul, also when its weights are the embedding's; padding rows are not counted."""
    assert model.vocab_size is not None
    return Flops(head=6.0 * model.hidden_size * model.vocab_size)


def micro_batch_kept(model: ModelConfig, reset_positions: bool) -> list[Kept]:
    """The micro-batch itself, and the angles where positions are not simply counted."""
    kept = [Kept("token ids and labels", other_bytes=2 * INT64), Kept("loss mask", other_bytes=1)]
    if reset_positions:
        kept.append(Kept("positions", other_bytes=INT64))
        if model.position_embedding_type == "rope":
            kept.append(Kept("cosines and sines", other_bytes=FP32 * int(model.head_dim * model.rotary_percent)))
    return kept


def embedding_kept(model: ModelConfig, sizes: Sizes, *, tensor_parallel: int = 1) -> list[Kept]:
    """Beside the micro-batch's own token ids."""
    kept = []
    if tensor_parallel > 1:
        kept.append(Kept("ids counted from this rank's first row", other_bytes=INT64))
    return kept + dropout_kept("embedding", model, sizes)


def head_kept(model: ModelConfig, sizes: Sizes, *, chunked: bool) -> list[Kept]:
    """Final norm, head and cross entropy. ``chunked``: the gradient is made in the forward pass, a strip at a time."""
    *last, normed = norm_kept("head", model, dataclasses.replace(sizes, eight_bit=False))
    if chunked:
        # Every rank has it whole: it is summed when it leaves the parallel region.
        return [*last, Kept("gradient of the head's input", sizes.H)]
    return [*last, normed, Kept("logits", sizes.V), Kept("log of the sum of exp", other_bytes=FP32)]


def head_working(s: Sizes, passes: Passes, *, strip: int, exact: int) -> int:
    """Bytes of temporaries beside what is kept, in forward or backward.

    Args:
        strip: tokens whose logits are there at one time.
        exact: logits that are in fp32 at one time.
    """
    tokens, width = passes.tokens, passes.width
    # The strip's logits, and the head's normalised input beside the gradient that takes its place; else that alone.
    working = strip * s.V * width + tokens * s.Hs * width if tokens > strip else tokens * s.H * width
    working += 2 * FP32 * exact + passes.gradient_bytes(min(strip, tokens), s.V, s.H)
    if s.share < 1:
        # The gathered input, and the gradient on its way.
        working += 2 * s.H * width * tokens
    return round(working)
