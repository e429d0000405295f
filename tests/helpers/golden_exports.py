"""What export makes of tiny models of every family, and what it says of models that no family has: for golden data."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from typing import Any

import torch

from helpers.hf_state import to_hugging_face
from helpers.tiny_models import TINY, tiny_config
from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.huggingface.options import family_of, read_options, write_options
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import parameters_with_spec, spec_of

NO_FAMILY: list[dict[str, Any]] = [
    {"position_embedding_type": "none"},
    {"rotary_percent": 0.5, "normalization": "LayerNorm"},
    {"activation": "squared_relu"},
    {"qk_layernorm": True, "add_qkv_bias": True},
    {"hidden_size": 100, "num_attention_heads": 8, "kv_channels": 16},
]
NOT_CONVERTED: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"mlp_bias": True}),
    ("llama", {"hidden_act": "relu"}),
    ("qwen3", {"attention_bias": True}),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", {"activation_function": "tanh"}),
]


def exported(name: str) -> dict[str, Any]:
    """Options, and type, shape and hash of every tensor, of a tiny model whose weights are written by arithmetic."""
    family, config = read_options(tiny_config(name).to_dict())
    model = GPT(config, Grid.single(), dtype=torch.float32)
    with torch.no_grad():
        for parameter in parameters_with_spec([model]):
            first = zlib.crc32(spec_of(parameter).pieces[0].name.encode()) % 1009
            parameter.copy_((torch.arange(parameter.numel()) + first).remainder(4093).view(parameter.shape) / 4096)
    tensors = {
        name: f"{list(tensor.shape)} {hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:12]}"
        for name, tensor in to_hugging_face(model, family).items()
    }
    return {"family": family_of(config).model_type, "options": write_options(family, config), "tensors": tensors}


def refusals() -> list[str]:
    """The words of every refusal."""
    found = []
    for changes in NO_FAMILY:
        try:
            family_of(dataclasses.replace(ModelConfig(vocab_size=1000), **changes))
        except ConfigError as error:
            found.append(str(error))
    for name, changes in NOT_CONVERTED:
        try:
            read_options(tiny_config(name).to_dict() | changes)
        except ConfigError as error:
            found.append(str(error))
    return found


def everything() -> dict[str, Any]:
    return {"exports": {name: exported(name) for name in TINY}, "refusals": refusals()}
