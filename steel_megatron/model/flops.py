"""FLOPs that the model's definition requires, by module; recomputation is never counted.

A matmul with a weight of P parameters takes 2 P FLOPs per token forward and 4 P backward. The input embedding is a
lookup and costs nothing; the head is a matmul, also when its weights are the embedding's; padding rows of the
vocabulary are not counted. Attention adds two products with s keys per token over N·D channels: 12·N·D·s per layer
forward and backward when all s keys are counted (as PaLM's and TinyLlama's MFU do), half of it when only the past is.
"""

from __future__ import annotations

from dataclasses import dataclass

from steel_megatron.config import ModelConfig

FORMULA = (
    "FLOPs per token = 6 x (matmul parameters of the blocks + head) + attention, "
    "attention = 12 x layers x heads x head size x sequence length (all keys), or half of it (causal)"
)


@dataclass(frozen=True)
class Flops:
    """FLOPs per token, forward and backward, by module."""

    attention_projections: float
    mlp: float
    head: float
    attention_all_keys: float

    @property
    def attention_causal(self) -> float:
        return self.attention_all_keys / 2

    @property
    def total(self) -> float:
        """With all keys of the sequence counted."""
        return self.attention_projections + self.mlp + self.head + self.attention_all_keys

    @property
    def total_causal(self) -> float:
        """With only the keys that a token attends to counted."""
        return self.total - self.attention_causal


def model_flops(config: ModelConfig, seq_length: int) -> Flops:
    """FLOPs per token of a model whose ``vocab_size`` is set, at a sequence length in tokens."""
    assert config.vocab_size is not None
    hidden, layers = config.hidden_size, config.num_layers
    queries = config.num_attention_heads * config.head_dim
    keys = config.query_groups * config.head_dim
    matrices = 3 if config.gated else 2
    return Flops(
        attention_projections=6.0 * layers * hidden * (2 * queries + 2 * keys),
        mlp=6.0 * layers * matrices * hidden * config.ffn_hidden_size,
        head=6.0 * hidden * config.vocab_size,
        attention_all_keys=12.0 * layers * queries * seq_length,
    )
