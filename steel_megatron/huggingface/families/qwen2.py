"""Qwen2 and Qwen2.5: Llama with biases of queries, keys and values alone."""

from __future__ import annotations

from typing import Any

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.huggingface.families.llama import ROTARY, Llama
from steel_megatron.huggingface.family import Options, Rule

WHOLE_LENGTH = {"use_sliding_window": False, "sliding_window": None}


class Qwen2(Llama):
    name = "Qwen2"
    model_type = "qwen2"
    architecture = "Qwen2ForCausalLM"
    rules = (
        *ROTARY,
        Rule.one_of("add_bias_linear", False),
        Rule.one_of("add_qkv_bias", True),
        Rule.one_of("qk_layernorm", False),
    )

    def write_own(self, model: ModelConfig) -> dict[str, Any]:
        """Transformers before 4.57 works out the head's size where none is written."""
        plain = model.head_dim * model.num_attention_heads == model.hidden_size
        return WHOLE_LENGTH if plain else WHOLE_LENGTH | {"head_dim": model.head_dim}

    def read_own(self, options: Options) -> dict[str, Any]:
        """Biases are there without an option."""
        refuse_windows(self.name, options)
        return {"add_bias_linear": False, "add_qkv_bias": True}


def refuse_windows(name: str, options: Options) -> None:
    """Refuses attention that does not see the whole sequence."""
    kinds = options.get("layer_types")
    if kinds is not None:
        sliding = any(kind != "full_attention" for kind in kinds)
    else:
        sliding = options["use_sliding_window"] and options["max_window_layers"] < options["num_hidden_layers"]
    if sliding:
        raise ConfigError(
            f"{name} with sliding-window attention", rule="only attention over the whole sequence is converted"
        )


FAMILY = Qwen2()
