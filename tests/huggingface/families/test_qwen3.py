"""What Qwen3 has beside Llama's options: norms of queries and keys, a head size of its own, Qwen2's windows."""

from __future__ import annotations

import dataclasses

import pytest

from helpers.tiny_models import tiny_config
from steel_megatron.config import ConfigError
from steel_megatron.huggingface.families.qwen3 import FAMILY
from steel_megatron.huggingface.family import Place
from steel_megatron.huggingface.options import read_options

OPTIONS = tiny_config("qwen3").to_dict()


def test_norms_of_queries_and_keys_have_a_place() -> None:
    assert FAMILY.place("blocks.3.attention.key_norm.weight") == Place("model.layers.3.self_attn.k_norm.weight")
    assert FAMILY.place("blocks.3.attention.query_norm.weight") == Place("model.layers.3.self_attn.q_norm.weight")


def test_a_heads_size_is_always_written() -> None:
    _, model = read_options(OPTIONS)
    assert (model.kv_channels, FAMILY.write(model)["head_dim"]) == (16, 16)
    plain = dataclasses.replace(model, kv_channels=None)
    assert FAMILY.write(plain)["head_dim"] == plain.hidden_size // plain.num_attention_heads


def test_windows_are_written() -> None:
    _, model = read_options(tiny_config("qwen3_sliding").to_dict())
    assert model.attention_kinds == FAMILY.write(model)["layer_types"]
    assert FAMILY.write(model)["sliding_window"] == 5


def test_biases_are_refused() -> None:
    with pytest.raises(ConfigError, match="Qwen3 with attention_bias True"):
        FAMILY.read(OPTIONS | {"attention_bias": True})


@pytest.mark.parametrize(
    "changes",
    [{"add_qkv_bias": True}, {"qk_layernorm": False}, {"layer_types": ("my.py:Near",)}, {"mlp_layer_types": ("a:B",)}],
)
def test_rules_name_what_it_has_not(changes: dict[str, object]) -> None:
    _, model = read_options(OPTIONS)
    broken = FAMILY.broken_rules(dataclasses.replace(model, **changes))
    assert [rule.option for rule in broken] == list(changes)
