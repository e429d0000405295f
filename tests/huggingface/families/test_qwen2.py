"""Qwen2's biases and windows, with transformers' own configuration as the other side."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from transformers import Qwen2Config

from helpers.tiny_models import tiny_config, tiny_hf_model
from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.huggingface.families.qwen2 import FAMILY, read_windows, write_windows
from steel_megatron.huggingface.options import family_of, read_options
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import parameters_with_spec, spec_of

FULL, SLIDING = "full_attention", "sliding_attention"
OPTIONS = tiny_config("qwen2").to_dict()


def read(**changes: Any) -> ModelConfig:
    return read_options(OPTIONS | changes)[1]


def test_queries_keys_and_values_alone_have_biases() -> None:
    model = GPT(read(), Grid.single(), dtype=torch.float32, device="meta")
    names = {piece.name for parameter in parameters_with_spec([model]) for piece in spec_of(parameter).pieces}
    biases = {FAMILY.place(name).name for name in names if name.endswith(".bias")}
    assert biases == {name for name, _ in tiny_hf_model("qwen2").named_parameters() if name.endswith(".bias")}
    assert len(biases) == 3 * OPTIONS["num_hidden_layers"]


def test_rules_tell_it_from_llama() -> None:
    model = read()
    assert family_of(model) is FAMILY
    for changes in ({"add_bias_linear": True}, {"add_qkv_bias": False}, {"qk_layernorm": True}):
        broken = FAMILY.broken_rules(dataclasses.replace(model, **changes))
        assert [rule.option for rule in broken] == list(changes)


@pytest.mark.parametrize("changes", [{"layer_types": ("my.py:Near", FULL)}, {"mlp_layer_types": ("my.py:Wide",)}])
def test_kinds_of_ones_own_are_no_qwen2(changes: dict[str, Any]) -> None:
    """Not written as the shipped kinds, which compute something else."""
    with pytest.raises(ConfigError, match=rf"{next(iter(changes))} is \('my\.py:"):
        family_of(dataclasses.replace(read(), **changes))


def test_a_heads_size_is_written_where_it_does_not_follow() -> None:
    assert "head_dim" not in FAMILY.write_own(read())
    wide = dataclasses.replace(read(), kv_channels=12)
    assert FAMILY.write_own(wide)["head_dim"] == 12
    assert read(**FAMILY.write(wide)).head_dim == 12


@pytest.mark.parametrize(
    ("pattern", "kinds"),
    [
        ((SLIDING,), [SLIDING] * 4),
        ((FULL, SLIDING), [FULL, SLIDING, FULL, SLIDING]),
        ((FULL, FULL, SLIDING, SLIDING), [FULL, FULL, SLIDING, SLIDING]),
        ((SLIDING, SLIDING, FULL), [SLIDING, SLIDING, FULL, SLIDING]),
    ],
)
def test_windows_mean_the_same_there(pattern: tuple[str, ...], kinds: list[str]) -> None:
    model = dataclasses.replace(read(), num_layers=4, layer_types=pattern, window_size=5)
    written = FAMILY.write(model)
    theirs = Qwen2Config(**written)
    assert (theirs.layer_types, theirs.sliding_window) == (kinds, 5)
    again = read(**theirs.to_dict())
    assert (again.attention_kinds, again.window_size) == (kinds, 5)
    if kinds == sorted(kinds):  # full layers first: what transformers before 4.53 can say
        del written["layer_types"]
        assert getattr(Qwen2Config(**written), "layer_types", kinds) == kinds
        assert read(**written, layer_types=None).attention_kinds == kinds


def test_without_sliding_layers_no_window_is_written_or_read() -> None:
    assert write_windows(read()) == {"use_sliding_window": False, "sliding_window": None}
    left = {"num_hidden_layers": 2, "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 1}
    assert read_windows("Qwen2", left) == {}  # as published: a window that is switched off
    assert read_windows("Qwen2", left | {"use_sliding_window": True, "max_window_layers": 28}) == {}


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"layer_types": [FULL, SLIDING]}, "Qwen2 with layers of sliding_attention and no window"),
        ({"layer_types": [FULL, SLIDING], "use_sliding_window": True, "sliding_window": None}, "and no window"),
        ({"layer_types": [FULL, "chunked_attention"]}, "Qwen2 with layer_types chunked_attention"),
        ({"layer_types": [FULL]}, "Qwen2 with layer_types of 1 layers"),
        ({"layer_types": [FULL] * 3}, "Qwen2 with layer_types of 3 layers"),
    ],
)
def test_windows_that_nobody_can_look_through_are_refused(changes: dict[str, Any], given: str) -> None:
    with pytest.raises(ConfigError, match=given):
        read(**changes)
