"""What a CUDA graph of a micro-batch cannot hold."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError, RunConfig
from steel_megatron.config.check_cuda_graph import check_cuda_graph

GRAPH = {"enable_cuda_graph": True, "device": "cuda"}


@pytest.mark.parametrize(
    ("knobs", "world", "given"),
    [
        ({"device": "cpu"}, 1, "--device cpu"),
        ({"tensor_model_parallel_size": 2}, 2, "tensor 2 × pipeline 1"),
        ({"pipeline_model_parallel_size": 2}, 2, "tensor 1 × pipeline 2"),
        ({"reset_attention_mask": True}, 1, "--reset-attention-mask"),
        ({"transformer_impl": "transformer_engine"}, 1, "--transformer-impl"),
        ({}, 2, "overlapped communication on 2"),
    ],
)
def test_it_is_refused_with_the_rule_and_a_way_out(knobs: dict[str, Any], world: int, given: str) -> None:
    config = RunConfig.of(**{**GRAPH, **knobs})
    with pytest.raises(ConfigError) as caught:
        check_cuda_graph(config, world)
    assert given in caught.value.given
    assert caught.value.rule
    assert caught.value.fix.endswith("or leave out --enable-cuda-graph")
    check_cuda_graph(config.replace(enable_cuda_graph=False), world)


def test_data_parallel_alone_is_taken() -> None:
    check_cuda_graph(RunConfig.of(**GRAPH), 1)
    check_cuda_graph(RunConfig.of(**GRAPH, overlap_grad_reduce=False, overlap_param_gather=False), 2)
