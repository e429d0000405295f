"""GPT-2's names, options and rules."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers.activations import ACT2FN

from helpers.tiny_models import tiny_config
from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.huggingface.families.gpt2 import ACTIVATIONS, FAMILY
from steel_megatron.huggingface.family import Place
from steel_megatron.huggingface.options import read_options
from steel_megatron.ops.activation import activate

OPTIONS = tiny_config("gpt2").to_dict()


def model(**changes: object) -> ModelConfig:
    return dataclasses.replace(read_options(OPTIONS)[1], **changes)


def test_queries_keys_and_values_are_thirds_of_one_matrix_and_a_bias_is_not_transposed() -> None:
    for part, what in enumerate(("query", "key", "value")):
        name = f"blocks.12.attention.{what}"
        assert FAMILY.place(f"{name}.weight") == Place("transformer.h.12.attn.c_attn.weight", True, (part, 3))
        assert FAMILY.place(f"{name}.bias") == Place("transformer.h.12.attn.c_attn.bias", False, (part, 3))
    assert FAMILY.place("blocks.12.mlp.down.weight") == Place("transformer.h.12.mlp.c_proj.weight", True)
    assert FAMILY.place("position_embedding.weight") == Place("transformer.wpe.weight")
    assert FAMILY.place("blocks.12.mlp.gate.weight") is None


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_of_this_name_is_the_same_function(name: str) -> None:
    x = torch.linspace(-6, 6, 401)
    torch.testing.assert_close(activate(x, ACTIVATIONS[name]), ACT2FN[name](x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", dict.fromkeys(ACTIVATIONS.values()))
def test_what_is_written_is_read(activation: str) -> None:
    written = model(activation=activation, attention_dropout=0.1, hidden_dropout=0.2, norm_epsilon=1e-6)
    assert FAMILY.broken_rules(written) == []
    assert read_options(OPTIONS | FAMILY.write(written))[1] == written


def test_what_is_not_given_is_worked_out() -> None:
    found = FAMILY.read(OPTIONS | {"n_inner": None})
    assert found["ffn_hidden_size"] == 4 * OPTIONS["n_embd"]
    assert found["num_query_groups"] == OPTIONS["n_head"]
    assert FAMILY.read(OPTIONS | {"resid_pdrop": 0.25, "embd_pdrop": 0.5})["hidden_dropout"] == 0.25


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ({"scale_attn_weights": False}, "scale_attn_weights False"),
        ({"add_cross_attention": True}, "add_cross_attention True"),
        ({"activation_function": "tanh"}, "activation_function 'tanh'"),
    ],
)
def test_what_is_not_converted_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        FAMILY.read(OPTIONS | changes)


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"num_query_groups": 2}, "num_query_groups"),
        ({"kv_channels": 16}, "kv_channels"),
        ({"activation": "swiglu"}, "activation"),
        ({"qk_layernorm": True}, "qk_layernorm"),
        ({"position_embedding_type": "rope"}, "position_embedding_type"),
        ({"add_bias_linear": False}, "add_bias_linear"),
        ({"layer_types": ("sliding_attention",), "window_size": 8}, "layer_types"),
        ({"mlp_layer_types": ("my.py:Wide",)}, "mlp_layer_types"),
    ],
)
def test_rules_name_what_it_has_not(changes: dict[str, object], option: str) -> None:
    assert [rule.option for rule in FAMILY.broken_rules(model(**changes))] == [option]
