"""What a family is made of: rules, places and tables of names."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.huggingface.family import Family, Place, Rule, known, named

TABLE = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}


class Demo(Family):
    name = "Demo"
    places: Mapping[str, Place] = {
        "blocks.*.mlp.up": Place("h.*.fc", transpose=True, part=(1, 2)),
        "head": Place("lm_head"),
    }
    rules = (Rule.one_of("normalization", "RMSNorm", "LayerNorm"), Rule.one_of("num_layers", 3))


def test_tables_are_read_both_ways() -> None:
    assert named("swiglu", TABLE) == "silu"
    assert known({"act": "swish"}, "act", TABLE) == "swiglu"
    with pytest.raises(ConfigError, match="act 'relu'") as caught:
        known({"act": "relu"}, "act", TABLE)
    assert "silu, swish, gelu" in caught.value.rule


def test_weights_are_transposed_and_biases_are_not() -> None:
    assert Demo().place("blocks.7.mlp.up.weight") == Place("h.7.fc.weight", True, (1, 2))
    assert Demo().place("blocks.7.mlp.up.bias") == Place("h.7.fc.bias", False, (1, 2))
    assert Demo().place("head.weight") == Place("lm_head.weight")
    assert Demo().place("blocks.7.mlp.gate.weight") is None


def test_a_broken_rule_says_what_is_wanted() -> None:
    (broken,) = Demo().broken_rules(ModelConfig(num_layers=4))
    assert (broken.option, broken.wanted) == ("num_layers", "3")
    Demo().refuse({"a": 1}, a=1)
    with pytest.raises(ConfigError, match="Demo with a 2"):
        Demo().refuse({"a": 2}, a=1)
