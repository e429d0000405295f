"""Qwen3 (dense): Llama without biases and with norms of queries and keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.config import ModelConfig
from steel_megatron.huggingface.families.llama import ROTARY, Llama
from steel_megatron.huggingface.families.qwen2 import WINDOWS, read_windows, write_windows
from steel_megatron.huggingface.family import Options, Place, Rule


class Qwen3(Llama):
    name = "Qwen3"
    model_type = "qwen3"
    architecture = "Qwen3ForCausalLM"
    places: Mapping[str, Place] = {
        **Llama.places,
        "blocks.*.attention.query_norm": Place("model.layers.*.self_attn.q_norm"),
        "blocks.*.attention.key_norm": Place("model.layers.*.self_attn.k_norm"),
    }
    rules = (
        *ROTARY,
        Rule.one_of("add_bias_linear", False),
        Rule.one_of("add_qkv_bias", False),
        Rule.one_of("qk_layernorm", True),
        WINDOWS,
    )

    def write_own(self, model: ModelConfig) -> dict[str, Any]:
        """The head's size is an option of its own."""
        return write_windows(model) | {"attention_bias": False, "head_dim": model.head_dim}

    def read_own(self, options: Options) -> dict[str, Any]:
        """Norms are there without an option."""
        self.refuse(options, attention_bias=False)
        own = {"add_bias_linear": False, "add_qkv_bias": False, "qk_layernorm": True}
        return read_windows(self.name, options) | own


FAMILY = Qwen3()
