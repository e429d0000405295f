"""8-bit runs that cannot be are refused before anything starts."""

from __future__ import annotations

import pytest

from steel_megatron.config import ConfigError, RunConfig, check_run
from steel_megatron.config.check_precision import matmul_sizes

SHAPE = {"hidden_size": 64, "ffn_hidden_size": 96, "num_attention_heads": 4, "num_query_groups": 2}


def config(**knobs) -> RunConfig:
    given = {**SHAPE, "train_iters": 10, "seq_length": 32, "fp8_format": "hybrid", **knobs}
    return RunConfig().replace(**given)


@pytest.mark.parametrize("tp", [1, 2])
def test_sizes_that_fit_pass(tp):
    check_run(config(tensor_model_parallel_size=tp), world_size=2)


@pytest.mark.parametrize(
    ("knobs", "parts"),
    [
        ({"fp8_format": None, "fp8_recipe": "delayed"}, ["delayed without --fp8-format", "hybrid"]),
        ({"precision": "fp32"}, ["--precision fp32", "--bf16"]),
        ({"fp8_recipe": "delayed"}, ["--transformer-impl local", "tensorwise"]),
        (
            {"transformer_impl": "transformer_engine", "recompute_granularity": "full"},
            ["--recompute-granularity full", "selective"],
        ),
        (
            {"transformer_impl": "transformer_engine", "fp8_recipe": "delayed", "fp8_amax_history_len": 0},
            ["--fp8-amax-history-len 0", "1 or more"],
        ),
        ({"ffn_hidden_size": 100}, ["ffn hidden size 100", "multiple of 16"]),
        ({"hidden_size": 72, "kv_channels": 16}, ["hidden size 72"]),
        ({"kv_channels": 6}, ["query features 24"]),
        ({"seq_length": 30, "micro_batch_size": 1}, ["tokens of a micro-batch 30"]),
        ({"ffn_hidden_size": 80, "tensor_model_parallel_size": 2}, ["ffn hidden size 40", "tensor parallel 2"]),
    ],
)
def test_what_cannot_be_is_refused(knobs, parts):
    with pytest.raises(ConfigError) as caught:
        check_run(config(**knobs), world_size=2)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_none_of_it_matters_without_8_bits():
    check_run(config(fp8_format=None, precision="fp32", ffn_hidden_size=100))


def test_the_sizes_are_those_of_the_layers():
    run = config(num_attention_heads=8, num_query_groups=2, kv_channels=16, add_bias_linear=False)
    sizes = matmul_sizes(run.model, 4)  # two ranks share a key head
    assert sizes == {
        "hidden size": 64,
        "query features": 32,
        "query, key and value features": 64,
        "ffn hidden size": 24,
    }
