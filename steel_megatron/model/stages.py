"""Which blocks this model's pipeline stages hold, weighed by their FLOPs."""

from __future__ import annotations

from steel_megatron.config import ModelConfig, ParallelConfig
from steel_megatron.model.flops import model_flops
from steel_megatron.parallel.pipeline.layout import LayerCosts, StageLayers, assign_layers, chunks_per_rank


def layer_costs(model: ModelConfig, seq_length: int) -> LayerCosts:
    """FLOPs per token of a block and of the head; the embedding is a lookup."""
    flops = model_flops(model, seq_length)
    blocks = flops.attention_projections + flops.mlp + flops.attention_causal
    return LayerCosts(block=blocks / model.num_layers, head=flops.head)


def stage_layers(model: ModelConfig, parallel: ParallelConfig, seq_length: int) -> tuple[tuple[StageLayers, ...], ...]:
    """``[pipeline rank][chunk]`` → what it holds.

    Raises:
        ConfigError: the layers cannot be cut as the configuration says.
    """
    ranks = parallel.pipeline_model_parallel_size
    chunks = chunks_per_rank(model.num_layers, ranks, parallel.num_layers_per_virtual_pipeline_stage)
    return assign_layers(
        model.num_layers, ranks, chunks, layout=parallel.pipeline_layout, costs=layer_costs(model, seq_length)
    )
