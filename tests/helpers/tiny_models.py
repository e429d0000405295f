"""Tiny models of every family and option that is converted, as options of ``transformers``."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config

VOCABULARY = 211  # no multiple of 128: the embedding has rows of padding here and none there

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
_GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 48,
    "n_inner": 112,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 96,
    "bos_token_id": None,
    "eos_token_id": None,
}
_LLAMA3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
_SLIDING: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 5}
_YARN = {"factor": 4.0, "original_max_position_embeddings": 32}

# name → (configuration class, options)
TINY: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "llama": (LlamaConfig, _SHAPE),
    "llama_tied_multi_head": (LlamaConfig, {**_SHAPE, "tie_word_embeddings": True, "num_key_value_heads": 6}),
    "llama_multi_query": (LlamaConfig, {**_SHAPE, "num_key_value_heads": 1}),
    "llama_biases": (LlamaConfig, {**_SHAPE, "attention_bias": True, "mlp_bias": True}),
    "llama_head_dim": (LlamaConfig, {**_SHAPE, "head_dim": 16}),
    "llama_geglu": (LlamaConfig, {**_SHAPE, "hidden_act": "gelu"}),
    "llama_llama3": (LlamaConfig, {**_SHAPE, "rope_scaling": {"rope_type": "llama3", **_LLAMA3}}),
    "llama_linear": (LlamaConfig, {**_SHAPE, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "llama_yarn": (
        LlamaConfig,
        {**_SHAPE, "rope_scaling": {"rope_type": "yarn", "beta_fast": 16.0, "beta_slow": 2.0, **_YARN}},
    ),
    "qwen2": (Qwen2Config, {**_SHAPE, "rope_theta": 1e6}),
    "qwen2_tied": (Qwen2Config, {**_SHAPE, "tie_word_embeddings": True}),
    "qwen2_head_dim": (Qwen2Config, {**_SHAPE, "head_dim": 12}),
    "qwen2_yarn": (Qwen2Config, {**_SHAPE, "rope_scaling": {"rope_type": "yarn", "attention_factor": 1.3, **_YARN}}),
    "qwen3": (Qwen3Config, {**_SHAPE, "head_dim": 16, "rope_theta": 1e6}),
    "qwen3_tied": (Qwen3Config, {**_SHAPE, "head_dim": 8, "tie_word_embeddings": True}),
    "qwen3_yarn": (Qwen3Config, {**_SHAPE, "head_dim": 16, "rope_scaling": {"rope_type": "yarn", **_YARN}}),
    "qwen2_sliding": (Qwen2Config, {**_SHAPE, **_SLIDING, "num_hidden_layers": 4, "max_window_layers": 2}),
    "qwen2_all_sliding": (Qwen2Config, {**_SHAPE, **_SLIDING, "max_window_layers": 0}),  # as Mistral
    "qwen3_sliding": (
        Qwen3Config,
        {
            **_SHAPE,
            **_SLIDING,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "max_window_layers": 0,
        },
    ),
    "gpt2": (GPT2Config, _GPT2),
    "gpt2_gelu": (GPT2Config, {**_GPT2, "activation_function": "gelu", "n_inner": None}),
    "gpt2_untied": (GPT2Config, {**_GPT2, "tie_word_embeddings": False, "activation_function": "relu"}),
}


def tiny_config(name: str, **more: Any) -> PretrainedConfig:
    """The configuration of a tiny model; ``more`` overrides its options."""
    cls, options = TINY[name]
    copied = {key: dict(value) if isinstance(value, dict) else value for key, value in options.items()}
    return cls(**{**copied, **more})


def tiny_hf_model(name: str, seed: int = 0, **more: Any) -> Any:
    """A ``transformers`` model in fp32 whose every parameter is random, norms and biases too."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(name, **more), attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1.0 + 0.2 * noise if parameter.dim() == 1 else 0.2 * noise)
    return model
