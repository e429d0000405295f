"""A small model whose sizes 8-bit matmuls take: multiples of 16, on two ranks too."""

from __future__ import annotations

from typing import Any

SHAPE: dict[str, Any] = {
    "num_layers": 2,
    "hidden_size": 64,
    "ffn_hidden_size": 96,
    "num_attention_heads": 4,
    "num_query_groups": 2,
    "max_position_embeddings": 16,
    "vocab_size": 103,
    "make_vocab_size_divisible_by": 8,
    "add_bias_linear": True,
    "init_method_std": 0.1,
}
