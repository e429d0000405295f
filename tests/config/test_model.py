"""The model section's figures and rules."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError, ModelConfig


def test_figures_follow_from_the_shape() -> None:
    model = ModelConfig(hidden_size=64, num_attention_heads=4, num_query_groups=None, kv_channels=None, vocab_size=1000)
    assert (model.head_dim, model.query_groups) == (16, 4)
    assert (model.padded_vocab_size(), model.padded_vocab_size(3)) == (1024, 1152)
    assert ModelConfig(vocab_size=1024).padded_vocab_size() == 1024
    assert ModelConfig(hidden_size=64, num_attention_heads=4, kv_channels=24).head_dim == 24


@pytest.mark.parametrize(
    ("knobs", "given"),
    [
        ({"hidden_size": 66}, "hidden size 66 with 4 heads"),
        ({"num_query_groups": 3}, "4 query heads in 3 groups"),
        ({"kv_channels": 7}, "RoPE over 7 of 7 channels"),
        ({"rope_scaling_type": "yarn", "rope_scaling_beta_slow": 40.0}, "--rope-scaling-beta-slow 40.0"),
        ({"activation": "relu {slope: 1}"}, "--activation"),
    ],
)
def test_what_cannot_be_built_is_refused(knobs: dict[str, Any], given: str) -> None:
    shape = {"hidden_size": 64, "num_attention_heads": 4, "num_query_groups": 2}
    ModelConfig(**shape).check()
    with pytest.raises(ConfigError) as caught:
        ModelConfig(**{**shape, **knobs}).check()
    assert given in caught.value.given
    assert caught.value.rule
    assert caught.value.fix
