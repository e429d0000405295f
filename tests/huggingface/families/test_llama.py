"""Llama's names, options and rules."""

from __future__ import annotations

import dataclasses

import pytest

from helpers.tiny_models import tiny_config
from steel_megatron.config import ConfigError
from steel_megatron.huggingface.families.llama import FAMILY
from steel_megatron.huggingface.family import Place

OPTIONS = tiny_config("llama").to_dict()


def test_names_have_the_layers_number() -> None:
    assert FAMILY.place("blocks.12.attention.query.weight") == Place("model.layers.12.self_attn.q_proj.weight")
    assert FAMILY.place("head.weight") == Place("lm_head.weight")
    assert FAMILY.place("blocks.0.attention.query_norm.weight") is None


def test_heads_and_biases_are_read() -> None:
    assert FAMILY.read(OPTIONS | {"num_key_value_heads": None})["num_query_groups"] == OPTIONS["num_attention_heads"]
    assert FAMILY.read(OPTIONS | {"attention_bias": True, "mlp_bias": True})["add_bias_linear"] is True
    assert FAMILY.read(OPTIONS | {"head_dim": 16})["kv_channels"] == 16
    with pytest.raises(ConfigError, match="mlp_bias True"):
        FAMILY.read(OPTIONS | {"mlp_bias": True})
    with pytest.raises(ConfigError, match="hidden_act 'relu'"):
        FAMILY.read(OPTIONS | {"hidden_act": "relu"})


def test_rules_name_what_it_has_not() -> None:
    from steel_megatron.huggingface.options import read_options

    _, model = read_options(OPTIONS)
    assert FAMILY.broken_rules(model) == []
    other = dataclasses.replace(model, qk_layernorm=True, normalization="LayerNorm")
    assert [rule.option for rule in FAMILY.broken_rules(other)] == ["normalization", "qk_layernorm"]
