"""Qwen2 and Qwen2.5: Llama with biases of queries, keys and values alone."""

from __future__ import annotations

from typing import Any

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.config.layer_types import FULL, SLIDING, shortest
from steel_megatron.huggingface.families.llama import ROTARY, Llama
from steel_megatron.huggingface.family import Options, Rule

WINDOWS = Rule(
    "layer_types", f"{FULL} or {SLIDING} in each layer", lambda model: set(model.attention_kinds) <= {FULL, SLIDING}
)


class Qwen2(Llama):
    name = "Qwen2"
    model_type = "qwen2"
    architecture = "Qwen2ForCausalLM"
    rules = (
        *ROTARY,
        Rule.one_of("add_bias_linear", False),
        Rule.one_of("add_qkv_bias", True),
        Rule.one_of("qk_layernorm", False),
        WINDOWS,
    )

    def write_own(self, model: ModelConfig) -> dict[str, Any]:
        """Transformers before 4.57 works out the head's size where none is written."""
        plain = model.head_dim * model.num_attention_heads == model.hidden_size
        return write_windows(model) | ({} if plain else {"head_dim": model.head_dim})

    def read_own(self, options: Options) -> dict[str, Any]:
        """Biases are there without an option."""
        return read_windows(self.name, options) | {"add_bias_linear": False, "add_qkv_bias": True}


def write_windows(model: ModelConfig) -> dict[str, Any]:
    """The kinds of attention; ``max_window_layers`` says to transformers before 4.53 where sliding layers begin."""
    kinds = model.attention_kinds
    if SLIDING not in kinds:
        return {"use_sliding_window": False, "sliding_window": None}
    return {
        "use_sliding_window": True,
        "sliding_window": model.window_size,
        "layer_types": kinds,
        "max_window_layers": kinds.index(SLIDING),
    }


def read_windows(name: str, options: Options) -> dict[str, Any]:
    """Knobs of the kinds of attention, as the shortest pattern; none where no layer slides."""
    layers, kinds = options["num_hidden_layers"], options.get("layer_types")
    if kinds is None:
        full = options["max_window_layers"] if options["use_sliding_window"] else layers
        kinds = [FULL if layer < full else SLIDING for layer in range(layers)]
    unknown = sorted(set(kinds) - {FULL, SLIDING})
    if unknown or len(kinds) != layers:
        raise ConfigError(
            f"{name} with layer_types {', '.join(unknown) or f'of {len(kinds)} layers'}",
            rule=f"each layer has one of {FULL}, {SLIDING}",
        )
    if SLIDING not in kinds:
        return {}
    if not (options["use_sliding_window"] and options["sliding_window"]):
        raise ConfigError(
            f"{name} with layers of {SLIDING} and no window",
            rule="use_sliding_window is true and sliding_window tells how much they see",
        )
    return {"layer_types": shortest(kinds), "window_size": options["sliding_window"]}


FAMILY = Qwen2()
