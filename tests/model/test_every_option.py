"""Every choice of every option of the model is causal, and decodes from its cache what it computes at once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from helpers.tiny_gpt import VOCABULARY, random_tokens, tiny_config, tiny_gpt
from steel_megatron.config import ModelConfig
from steel_megatron.config.knob import knobs_of
from steel_megatron.model.attention.cache import KVCache

# What other values of a knob without listed choices are tried.
VALUES: dict[str, list[Any]] = {
    "num_layers": [1, 3],
    "ffn_hidden_size": [40],
    "num_attention_heads": [8],
    "num_query_groups": [None, 1],
    "kv_channels": [6, 16],
    "rotary_base": [100.0],
    "rotary_percent": [0.5],
    "norm_epsilon": [0.1],
    "init_method_std": [0.2],
}
# Shapes that every model here shares, and numbers of scalings, which are tried with the scalings.
ELSEWHERE = {"hidden_size", "window_size", "max_position_embeddings", "vocab_size", "make_vocab_size_divisible_by"}
WINDOW = {"window_size": 3}
SCALED = {"rope_scaling_factor": 4.0, "rope_scaling_original_max_position_embeddings": 16}


def every_option() -> list[dict[str, Any]]:
    """One option of the defaults changed at a time."""
    found: list[dict[str, Any]] = []
    for knob in knobs_of("model", ModelConfig):
        if knob.name in ELSEWHERE or (knob.name.startswith("rope_scaling_") and knob.name != "rope_scaling_type"):
            continue
        if knob.name in ("layer_types", "mlp_layer_types"):
            patterns = [[kind] for kind in knob.choices]
            patterns += list(map(list, itertools.permutations(knob.choices, 2)))
            found += [
                {knob.name: pattern, **(WINDOW if "sliding_attention" in pattern else {})} for pattern in patterns
            ]
            continue
        if knob.choices:
            values = list(knob.choices)
        elif isinstance(knob.default, bool):
            values = [not knob.default]
        else:
            values = VALUES.get(knob.name, [0.1] if knob.name.endswith("_dropout") else [])
        assert values, f"{knob.name}: say in VALUES what is to be tried"
        found += [{knob.name: value, **(SCALED if knob.name == "rope_scaling_type" else {})} for value in values]
    return found


def name_of(options: dict[str, Any]) -> str:
    return "-".join(map(str, next(iter(options.items()))))


@pytest.mark.parametrize("options", every_option(), ids=name_of)
def test_causal_and_the_same_from_the_cache(options):
    config = tiny_config(**options)
    model = tiny_gpt(config)
    tokens = random_tokens(2, 9)
    cache = KVCache(config, model.grid, batch=2, capacity=9, dtype=torch.float32)
    with torch.no_grad():
        whole = model(tokens)
        for cut in range(1, 9):
            changed = tokens.clone()
            changed[:, cut:] = (changed[:, cut:] + 1) % VOCABULARY
            other = model(changed)
            torch.testing.assert_close(other[:, :cut], whole[:, :cut], rtol=0, atol=1e-5)
            assert not torch.allclose(other[:, cut], whole[:, cut], atol=1e-3)
        steps = [model(tokens[:, a:b], cache=cache) for a, b in itertools.pairwise([0, 4, 5, 6, 7, 8, 9])]
        torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)
