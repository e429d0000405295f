"""The kinds of attention by name, and their own figures."""

from __future__ import annotations

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.attention.kinds import FullAttention, SlidingAttention, attention_of

MIXED = tiny_config(layer_types=("sliding_attention", "full_attention"), window_size=4)


def test_a_layer_has_the_kind_of_its_pattern() -> None:
    assert type(attention_of(MIXED, 0)) is SlidingAttention
    assert type(attention_of(MIXED, 1)) is FullAttention
    assert attention_of(MIXED, 1) is attention_of(tiny_config(), 0)


def test_a_window_is_seen_with_the_token_itself() -> None:
    assert (SlidingAttention().window(MIXED), FullAttention().window(MIXED)) == (4, None)
    assert [SlidingAttention().cached_positions(MIXED, length) for length in (2, 3, 10)] == [2, 3, 3]
    assert FullAttention().cached_positions(MIXED, 10) == 10


def test_parameters_count_groups_and_biases() -> None:
    full = FullAttention()
    matrices = 32 * (32 + 2 * 16) + 32 * 32
    assert full.parameters(tiny_config()).total() == matrices
    assert full.parameters(tiny_config(add_qkv_bias=True))["attention"] == matrices + 64
    assert full.parameters(tiny_config(add_bias_linear=True))["attention"] == matrices + 64 + 32
    assert full.parameters(tiny_config(qk_layernorm=True))["norms"] == 2 * 8
