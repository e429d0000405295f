"""GPT-2: LayerNorm, learned positions, biases, and matrices stored as (in, out)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.config import ModelConfig
from steel_megatron.huggingface.family import DENSE_LAYERS, WHOLE_LENGTH, Family, Options, Place, Rule, known, named

ACTIVATIONS = {  # its names → ours
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "relu2": "squared_relu",
    "silu": "silu",
    "swish": "silu",
}


class GPT2(Family):
    name = "GPT-2"
    model_type = "gpt2"
    architecture = "GPT2LMHeadModel"
    prefix = "transformer."
    places: Mapping[str, Place] = {
        "embedding": Place("transformer.wte"),
        "position_embedding": Place("transformer.wpe"),
        "blocks.*.attention_norm": Place("transformer.h.*.ln_1"),
        "blocks.*.attention.query": Place("transformer.h.*.attn.c_attn", transpose=True, part=(0, 3)),
        "blocks.*.attention.key": Place("transformer.h.*.attn.c_attn", transpose=True, part=(1, 3)),
        "blocks.*.attention.value": Place("transformer.h.*.attn.c_attn", transpose=True, part=(2, 3)),
        "blocks.*.attention.output": Place("transformer.h.*.attn.c_proj", transpose=True),
        "blocks.*.mlp_norm": Place("transformer.h.*.ln_2"),
        "blocks.*.mlp.up": Place("transformer.h.*.mlp.c_fc", transpose=True),
        "blocks.*.mlp.down": Place("transformer.h.*.mlp.c_proj", transpose=True),
        "final_norm": Place("transformer.ln_f"),
        "head": Place("lm_head"),
    }
    rules = (
        Rule.one_of("position_embedding_type", "learned_absolute"),
        Rule.one_of("normalization", "LayerNorm"),
        Rule.one_of("activation", "gelu", "gelu_tanh", "relu", "squared_relu", "silu"),
        Rule.one_of("add_bias_linear", True),
        Rule.one_of("qk_layernorm", False),
        WHOLE_LENGTH,
        DENSE_LAYERS,
        Rule("num_query_groups", "as many as heads", lambda m: m.query_groups == m.num_attention_heads),
        Rule("kv_channels", "hidden size / heads", lambda m: m.head_dim * m.num_attention_heads == m.hidden_size),
    )
    ignored = (".attn.bias", ".attn.masked_bias")

    def write(self, model: ModelConfig) -> dict[str, Any]:
        return {
            "n_embd": model.hidden_size,
            "n_inner": model.ffn_hidden_size,
            "n_layer": model.num_layers,
            "n_head": model.num_attention_heads,
            "n_positions": model.max_position_embeddings,
            "activation_function": named(model.activation, ACTIVATIONS),
            "layer_norm_epsilon": model.norm_epsilon,
            "attn_pdrop": model.attention_dropout,
            "resid_pdrop": model.hidden_dropout,
            "embd_pdrop": model.hidden_dropout,
        }

    def read(self, options: Options) -> dict[str, Any]:
        self.refuse(options, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
        return {
            "hidden_size": options["n_embd"],
            "ffn_hidden_size": options["n_inner"] or 4 * options["n_embd"],
            "num_layers": options["n_layer"],
            "num_attention_heads": options["n_head"],
            "num_query_groups": options["n_head"],
            "max_position_embeddings": options["n_positions"],
            "position_embedding_type": "learned_absolute",
            "normalization": "LayerNorm",
            "norm_epsilon": options["layer_norm_epsilon"],
            "activation": known(options, "activation_function", ACTIVATIONS),
            "add_bias_linear": True,
            "attention_dropout": float(options["attn_pdrop"]),
            "hidden_dropout": float(options["resid_pdrop"]),
        }


FAMILY = GPT2()
