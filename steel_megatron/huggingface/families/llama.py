"""Llama, and what the families that follow it share: RMSNorm, RoPE, gated MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.config import ModelConfig
from steel_megatron.huggingface.family import DENSE_LAYERS, WHOLE_LENGTH, Family, Options, Place, Rule, known, named
from steel_megatron.huggingface.rope import read_rope, write_rope

ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}  # its names → ours
ROTARY = (
    Rule.one_of("position_embedding_type", "rope"),
    Rule.one_of("rotary_percent", 1.0),
    Rule.one_of("normalization", "RMSNorm"),
    Rule.one_of("activation", *dict.fromkeys(ACTIVATIONS.values())),
    DENSE_LAYERS,
)
_LAYER = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}


class Llama(Family):
    """The common names and options; those of its own are in the ``…_own`` methods."""

    name = "Llama"
    model_type = "llama"
    architecture = "LlamaForCausalLM"
    prefix = "model."
    places: Mapping[str, Place] = {
        "embedding": Place("model.embed_tokens"),
        **{f"blocks.*.{ours}": Place(f"model.layers.*.{theirs}") for ours, theirs in _LAYER.items()},
        "final_norm": Place("model.norm"),
        "head": Place("lm_head"),
    }
    rules: tuple[Rule, ...] = (
        *ROTARY,
        Rule("add_qkv_bias", "False (or biases everywhere)", lambda m: m.add_bias_linear or not m.add_qkv_bias),
        Rule.one_of("qk_layernorm", False),
        Rule("hidden_size", "a multiple of the heads", lambda m: m.hidden_size % m.num_attention_heads == 0),
        WHOLE_LENGTH,
    )
    ignored = ("rotary_emb.inv_freq",)

    def write(self, model: ModelConfig) -> dict[str, Any]:
        common = {
            "hidden_size": model.hidden_size,
            "intermediate_size": model.ffn_hidden_size,
            "num_hidden_layers": model.num_layers,
            "num_attention_heads": model.num_attention_heads,
            "num_key_value_heads": model.query_groups,
            "hidden_act": named(model.activation, ACTIVATIONS),
            "rms_norm_eps": model.norm_epsilon,
            "max_position_embeddings": model.max_position_embeddings,
            "attention_dropout": model.attention_dropout,
        }
        return common | self.write_own(model) | write_rope(model)

    def read(self, options: Options) -> dict[str, Any]:
        heads, head_dim = options["num_attention_heads"], options.get("head_dim")
        common = {
            "hidden_size": options["hidden_size"],
            "ffn_hidden_size": options["intermediate_size"],
            "num_layers": options["num_hidden_layers"],
            "num_attention_heads": heads,
            "num_query_groups": options.get("num_key_value_heads") or heads,
            "kv_channels": None if head_dim is None or head_dim * heads == options["hidden_size"] else head_dim,
            "max_position_embeddings": options["max_position_embeddings"],
            "norm_epsilon": options["rms_norm_eps"],
            "activation": known(options, "hidden_act", ACTIVATIONS),
            "attention_dropout": float(options["attention_dropout"]),
        }
        return common | self.read_own(options) | read_rope(options)

    def write_own(self, model: ModelConfig) -> dict[str, Any]:
        """What Llama alone has."""
        bias = model.add_bias_linear
        return {"attention_bias": bias, "mlp_bias": bias, "head_dim": model.head_dim}

    def read_own(self, options: Options) -> dict[str, Any]:
        """What Llama alone has."""
        self.refuse(options, mlp_bias=options["attention_bias"])
        return {"add_bias_linear": options["attention_bias"]}


FAMILY = Llama()
