"""Runs that are tried on the fake device: layouts × ways to compute, on a model of a few thousand parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.config import RunConfig, load_run_config
from steel_megatron.verify.layouts import Layout

# With all that goes wrong in parallel: tied embeddings, fewer key heads than ranks, a vocabulary that does not divide.
SHAPE = {
    "hidden_size": 64,
    "ffn_hidden_size": 128,
    "num_attention_heads": 8,
    "num_query_groups": 2,
    "kv_channels": 16,
    "vocab_size": 1000,
    "max_position_embeddings": 64,
    "qk_layernorm": True,
    "untie_embeddings_and_output_weights": False,
    "seq_length": 64,
    "micro_batch_size": 2,
    "precision": "bf16",
}
RUN = {
    "train_iters": 2,
    "eval_interval": 2,
    "eval_iters": 1,
    "split": "80,20,0",
    "num_workers": 1,
    "log_interval": 2,
    "bucket_size": 20_000,  # several messages
    "lr_warmup_iters": 1,
    "device": "cuda",
}
GPT2 = {
    "normalization": "LayerNorm",
    "activation": "gelu",
    "position_embedding_type": "learned_absolute",
    "num_query_groups": 8,
    "qk_layernorm": False,
    "add_bias_linear": True,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
}
LAYOUTS = (
    "dp1",
    "dp2",
    "dp4,nozero",
    "tp2",
    "tp2,sp",
    "tp4,sp",
    "pp2",
    "pp2,gpipe",
    "pp2,vpp1",
    "pp4",
    "tp2,sp,dp2",
    "pp2,dp2",
    "tp2,pp2,dp2",
    "tp2,sp,pp2,vpp1,dp2",
)
WAYS: Mapping[str, Mapping[str, Any]] = {
    "bf16": {},
    "fp16": {"precision": "fp16"},
    "packed": {"reset_position_ids": True, "reset_attention_mask": True, "eod_mask_loss": False},
    "fp8": {"fp8_format": "hybrid"},
    "full": {"recompute_granularity": "full"},
    "selective": {
        "recompute_granularity": "selective",
        "recompute_modules": ["core_attn", "layernorm", "mlp_act"],
    },
    "gpt2": GPT2,
    "deterministic": {"deterministic_mode": True},
    "bf16 moments": {"exp_avg_dtype": "bf16", "exp_avg_sq_dtype": "bf16", "z_loss_coeff": 1e-4},
}
# CUDA graphs are for data parallel without overlapped messages; the second step captures, the third replays alone.
GRAPH = "graph"
GRAPH_KNOBS = {
    "enable_cuda_graph": True,
    "cuda_graph_warmup_steps": 1,
    "overlap_grad_reduce": False,
    "overlap_param_gather": False,
    "train_iters": 3,
}
KERNELS = ("steel", "compiled", "torch")

# Every layout, every way and all kernels.
COVERING = (
    ("dp1", "bf16", "torch"),
    ("dp1", "fp8", "steel"),
    ("dp1", "gpt2", "steel"),
    ("dp2", "fp16", "steel"),
    ("dp2", "packed", "torch"),
    ("dp2", "bf16 moments", "steel"),
    ("dp2", "bf16", "compiled"),
    ("dp2", "deterministic", "torch"),
    ("dp2", GRAPH, "steel"),
    ("tp2,sp", "gpt2", "compiled"),
    ("dp4,nozero", "bf16", "steel"),
    ("tp2", "fp16", "torch"),
    ("tp2", "full", "steel"),
    ("tp2,sp", "fp8", "steel"),
    ("tp2,sp", "packed", "steel"),
    ("tp4,sp", "bf16", "torch"),
    ("pp2", "bf16", "steel"),
    ("pp2", "fp16", "steel"),
    ("pp2,gpipe", "full", "torch"),
    ("pp2,vpp1", "selective", "steel"),
    ("pp4", "packed", "steel"),
    ("tp2,sp,dp2", "bf16", "steel"),
    ("pp2", "gpt2", "torch"),
    ("pp2,dp2", "fp8", "torch"),
    ("tp2,pp2,dp2", "bf16", "steel"),
    ("tp2,sp,pp2,vpp1,dp2", "selective", "steel"),
)


def all_cases() -> list[tuple[str, str, str]]:
    """The whole product."""
    graphs = [(layout, GRAPH) for layout in LAYOUTS if layout.startswith("dp")]
    ways = [(layout, way) for layout in LAYOUTS for way in WAYS] + graphs
    return [(*chosen, kernels) for chosen in ways for kernels in KERNELS]


def case_config(layout: Layout, way: str, kernels: str) -> RunConfig:
    """The run of a case, two micro-batches per step and rank, or as many as there are pipeline stages."""
    knobs = {**SHAPE, **RUN, **(GRAPH_KNOBS if way == GRAPH else WAYS[way]), "kernel_backend": kernels}
    config = load_run_config(None, knobs)
    granularity = config.training.recompute_granularity
    config = layout.apply(config)
    return config.replace(
        recompute_granularity=granularity,
        num_layers=layout.pp * (2 if layout.vpp or layout.world_size == 1 else 1),
        global_batch_size=layout.dp * config.training.micro_batch_size * max(layout.pp, 2),
    )
