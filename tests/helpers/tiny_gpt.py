"""A tiny model with every option at hand."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from steel_megatron.config import ModelConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid

VOCABULARY = 97


def tiny_config(**options: Any) -> ModelConfig:
    shape = {
        "num_layers": 2,
        "hidden_size": 32,
        "ffn_hidden_size": 48,
        "num_attention_heads": 4,
        "num_query_groups": 2,
        "max_position_embeddings": 64,
        "vocab_size": VOCABULARY,
    }
    return ModelConfig(**{**shape, **options})


def tiny_gpt(config: ModelConfig, *, seed: int = 1, **more: Any) -> GPT:
    """The model in fp32 with weights large enough that every part of it matters."""
    model = GPT(config, Grid.single(), dtype=more.pop("dtype", torch.float32), seed=seed, **more)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(0.1 * noise.to(parameter.dtype))
    return model


def random_tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


# Every option of the model that changes what it computes.
OPTIONS = st.fixed_dictionaries(
    {
        "num_query_groups": st.sampled_from([1, 2, 4]),
        "kv_channels": st.sampled_from([None, 6, 16]),
        "position_embedding_type": st.sampled_from(["rope", "learned_absolute", "none"]),
        "rotary_percent": st.sampled_from([0.5, 1.0]),
        "rope_scaling_type": st.sampled_from(["none", "linear", "llama3", "yarn"]),
        "normalization": st.sampled_from(["RMSNorm", "LayerNorm"]),
        "activation": st.sampled_from(["swiglu", "geglu", "gelu", "gelu_tanh", "relu", "squared_relu", "silu"]),
        "add_bias_linear": st.booleans(),
        "add_qkv_bias": st.booleans(),
        "qk_layernorm": st.booleans(),
        "untie_embeddings_and_output_weights": st.booleans(),
    }
).map(
    lambda options: {
        **options,
        # 3 of 6 channels cannot be rotated in pairs.
        "rotary_percent": 1.0 if options["kv_channels"] == 6 else options["rotary_percent"],
        "rope_scaling_factor": 4.0,
        "rope_scaling_original_max_position_embeddings": 16,
    }
)
