"""FLOPs that the model's definition requires: the layers' own figures, added up.

A matmul with a weight of P parameters takes 2 P FLOPs per token forward and 4 P backward. The input embedding is a
lookup and costs nothing. Attention adds two products with s keys per token over N·D channels: 12·N·D·s per layer
forward and backward when all s keys are counted (as PaLM's and TinyLlama's MFU do), half of it when only the past is.
A layer with a window has no more keys than that.
"""

from __future__ import annotations

from steel_megatron.config import ModelConfig
from steel_megatron.model.block_cost import block_flops
from steel_megatron.model.cost import Flops
from steel_megatron.model.ends_cost import head_flops

FORMULA = (
    "FLOPs per token = 6 x (matmul parameters of the blocks + head) + attention, "
    "attention = 12 x layers x heads x head size x sequence length (all keys), or half of it (causal)"
)


def model_flops(config: ModelConfig, seq_length: int) -> Flops:
    """FLOPs per token of a model whose ``vocab_size`` is set, at a sequence length in tokens."""
    layers = (block_flops(config, layer, seq_length) for layer in range(config.num_layers))
    return sum(layers, head_flops(config))
