"""Which blocks the stages hold."""

from __future__ import annotations

import pytest

from helpers.tiny_gpt import tiny_config
from steel_megatron.config import ConfigError, ParallelConfig
from steel_megatron.model.stages import layer_costs, stage_layers


def test_the_head_weighs_as_much_as_its_matmul() -> None:
    costs = layer_costs(tiny_config(num_layers=3), 16)
    assert len(costs.blocks) == 3
    assert len(set(costs.blocks)) == 1
    assert costs.head == 6 * 32 * 97
    sliding = tiny_config(num_layers=2, layer_types=("sliding_attention", "full_attention"), window_size=4)
    near, far = layer_costs(sliding, 64).blocks
    assert near < far


def test_every_layer_is_on_one_stage_in_order() -> None:
    parallel = ParallelConfig(pipeline_model_parallel_size=2, pipeline_layout="3,1")
    stages = stage_layers(tiny_config(num_layers=4), parallel, 16)
    assert [list(stage[0].layers) for stage in stages] == [[0, 1, 2], [3]]
    assert [(stage[0].first, stage[0].last) for stage in stages] == [(True, False), (False, True)]


def test_a_heavy_head_leaves_the_last_stage_fewer_blocks() -> None:
    parallel = ParallelConfig(pipeline_model_parallel_size=2)
    first, last = stage_layers(tiny_config(num_layers=8, vocab_size=2000), parallel, 16)
    assert len(first[0].layers) > len(last[0].layers)


def test_layers_that_cannot_be_cut_so_are_refused() -> None:
    with pytest.raises(ConfigError):
        stage_layers(
            tiny_config(num_layers=4), ParallelConfig(pipeline_model_parallel_size=2, pipeline_layout="3,2"), 16
        )
