"""Which blocks this model's pipeline stages hold, weighed by their FLOPs."""

from __future__ import annotations

from steel_megatron.config import ModelConfig, ParallelConfig
from steel_megatron.model.block_cost import block_flops
from steel_megatron.model.ends_cost import head_flops
from steel_megatron.parallel.pipeline.layout import LayerCosts, StageLayers, assign_layers, chunks_per_rank


def layer_costs(model: ModelConfig, seq_length: int) -> LayerCosts:
    """FLOPs per token of each block and of the head; the embedding is a lookup."""
    blocks = (block_flops(model, layer, seq_length).total_causal for layer in range(model.num_layers))
    return LayerCosts(tuple(blocks), head=head_flops(model).total)


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
