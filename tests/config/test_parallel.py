"""The parallel section's own rules."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError, ParallelConfig


@pytest.mark.parametrize(
    ("knobs", "given"),
    [
        ({"pipeline_layout": "5,6"}, "without pipeline stages"),
        ({"num_layers_per_virtual_pipeline_stage": 2}, "without pipeline stages"),
        ({"pipeline_model_parallel_size": 2, "pipeline_schedule": "interleaved"}, "one chunk per rank"),
        ({"tensor_model_parallel_size": 0}, "--tensor-model-parallel-size 0"),
    ],
)
def test_what_contradicts_itself_is_refused(knobs: dict[str, Any], given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ParallelConfig(**knobs).check()
    assert given in caught.value.given
    assert caught.value.rule
    assert caught.value.fix


def test_the_same_with_stages_is_taken() -> None:
    ParallelConfig(pipeline_model_parallel_size=2, pipeline_layout="5,6").check()
    ParallelConfig(
        pipeline_model_parallel_size=2, pipeline_schedule="interleaved", num_layers_per_virtual_pipeline_stage=2
    ).check()
    ParallelConfig(pipeline_layout="even").check()
