"""FLOPs per token, against the published formula."""

from __future__ import annotations

import pytest

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.flops import model_flops


@pytest.mark.parametrize("tied", [True, False])
def test_six_per_matmul_parameter_and_twelve_per_key(tied: bool) -> None:
    model = tiny_config(untie_embeddings_and_output_weights=not tied, activation="swiglu")
    flops = model_flops(model, 16)
    attention = 32 * (4 + 2 * 2) * 8 + 32 * 32  # queries, keys, values; output
    assert flops.attention_projections == 6 * 2 * attention
    assert flops.mlp == 6 * 2 * (3 * 32 * 48)
    assert flops.head == 6 * 32 * 97
    assert flops.attention_all_keys == 12 * 2 * 32 * 16
    assert flops.total == flops.attention_projections + flops.mlp + flops.head + flops.attention_all_keys


def test_a_window_bounds_the_keys() -> None:
    sliding = tiny_config(layer_types=("sliding_attention",), window_size=4)
    assert model_flops(sliding, 16).attention_all_keys == model_flops(tiny_config(), 4).attention_all_keys
    assert model_flops(sliding, 2) == model_flops(tiny_config(), 2)
    # Of 16 tokens 3 see 1, 2 and 3 keys, 13 see 4: on average less than 4, up to the half key of the formula.
    assert model_flops(sliding, 16).attention_causal == 12 * 2 * 32 * (4 - 16 / 32)
