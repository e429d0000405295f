"""What embedding, head and loss take."""

from __future__ import annotations

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.cost import Passes, Sizes, total_bytes
from steel_megatron.model.ends_cost import (
    embedding_kept,
    ends_parameters,
    head_flops,
    head_kept,
    head_working,
    micro_batch_kept,
)


def test_a_tied_head_counts_once() -> None:
    tied, own = (ends_parameters(tiny_config(untie_embeddings_and_output_weights=untied)) for untied in (False, True))
    assert (tied["head"], own["head"]) == (0, 97 * 32)
    assert own["padding"] == 2 * tied["padding"] == 2 * (128 - 97) * 32
    assert head_flops(tiny_config(untie_embeddings_and_output_weights=False)).total == 6 * 97 * 32


def test_a_micro_batch_is_two_ids_and_a_mask() -> None:
    config = tiny_config(rotary_percent=0.5)
    assert total_bytes(micro_batch_kept(config, False), 2) == 17
    assert total_bytes(micro_batch_kept(config, True), 2) == 17 + 8 + 4 * 4
    assert total_bytes(embedding_kept(config, Sizes.of(config)), 2) == 0
    assert total_bytes(embedding_kept(config, Sizes.of(config, 2), tensor_parallel=2), 2) == 8


def test_strips_keep_a_gradient_in_the_place_of_the_logits() -> None:
    config, sizes = tiny_config(), Sizes.of(tiny_config())
    whole, strips = (total_bytes(head_kept(config, sizes, chunked=flag), 2) for flag in (False, True))
    assert whole - strips == 2 * sizes.V + 4  # the gradient is as large as the head's input
    passes = Passes(tokens=64, width=2, tensor_parallel=1, gradient_bytes=lambda tokens, rows, features: 1000 * tokens)
    assert head_working(sizes, passes, strip=64, exact=0) == 64 * 32 * 2 + 64_000
    assert head_working(sizes, passes, strip=16, exact=8) == 16 * 128 * 2 + 64 * 32 * 2 + 8 * 8 + 16_000
