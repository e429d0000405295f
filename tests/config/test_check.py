"""Impossible combinations are refused with values, rule and fix."""

from __future__ import annotations

import pytest

from steel_megatron.config import KNOBS, ConfigError, RunConfig, check_run
from steel_megatron.config.knob import Knob


def config(**knobs) -> RunConfig:
    return RunConfig().replace(**{"train_iters": 10, **knobs})


def test_a_warm_up_of_0_is_none_beside_another():
    check_run(config(lr_warmup_iters=0, lr_warmup_samples=5), 1)
    check_run(config(lr_warmup_iters=0, lr_warmup_fraction=0.1), 1)


def test_defaults_are_possible_and_the_batch_is_derived():
    run = check_run(config(micro_batch_size=3), world_size=4)
    assert run.training.global_batch_size == 12


@pytest.mark.parametrize(
    ("knobs", "world", "parts"),
    [
        ({"hidden_size": 100, "num_attention_heads": 7, "num_query_groups": 7}, 1, ["100", "7", "--kv-channels"]),
        ({"num_attention_heads": 8, "num_query_groups": 3}, 1, ["1, 2, 4, 8"]),
        ({"kv_channels": 5}, 1, ["RoPE", "even"]),
        ({"num_layers": 2, "layer_types": ["full_attention"] * 3}, 1, ["3 kinds for 2 layers"]),
        ({"layer_types": ["sliding_attention", "full_attention"]}, 1, ["no --window-size", "give --window-size"]),
        ({"window_size": 8}, 1, ["--window-size 8", "--layer-types sliding_attention"]),
        ({"mlp_layer_types": []}, 1, ["0 kinds"]),
        ({"num_layers": 0}, 1, ["--num-layers 0"]),
        ({"hidden_dropout": 1.0}, 1, ["--hidden-dropout 1.0", "0 or more and below 1"]),
        ({"global_batch_size": 10, "micro_batch_size": 4}, 2, ["10", "multiple", "8 or 16"]),
        ({"seq_length": 4096}, 1, ["4096", "2048", "raise --max-position-embeddings"]),
        ({"tensor_model_parallel_size": 3}, 4, ["4 processes", "multiple of 3"]),
        ({"tensor_model_parallel_size": 3}, 3, ["32 heads over 3"]),
        (
            {"num_attention_heads": 12, "num_query_groups": 3, "kv_channels": 64, "tensor_model_parallel_size": 2},
            2,
            ["3 key/value heads over 2"],
        ),
        ({"pipeline_model_parallel_size": 2}, 3, ["3 processes", "pipeline 2"]),
        ({"num_layers_per_virtual_pipeline_stage": 1}, 1, ["without pipeline stages"]),
        ({"pipeline_layout": "11,11"}, 1, ["without pipeline stages"]),
        ({"pipeline_model_parallel_size": 2, "pipeline_schedule": "interleaved"}, 2, ["--num-layers-per-virtual"]),
        (
            {"seq_length": 30, "sequence_parallel": True, "tensor_model_parallel_size": 4},
            4,
            ["--seq-length 30", "multiple of 4"],
        ),
        ({"train_iters": None}, 1, ["--train-iters or --train-samples"]),
        ({"train_samples": 5}, 1, ["together"]),
        ({"z_loss_coeff": -1e-4}, 1, ["--z-loss-coeff -0.0001", "0 or more; 0: none"]),
        ({"train_iters": None}, 1, ["no length", "--train-samples"]),
        ({"ffn_hidden_size": 30, "tensor_model_parallel_size": 4}, 4, ["1, 2, 3, 5, 6"]),
        ({"rampup_batch_size": [4, 4]}, 1, ["START INCREMENT SAMPLES"]),
        ({"min_lr": 1.0}, 1, ["--min-lr"]),
        ({"lr_warmup_iters": 5, "lr_warmup_tokens": 5}, 1, ["--lr-warmup-iters and --lr-warmup-tokens"]),
        ({"lr_warmup_fraction": 1.5}, 1, ["--lr-warmup-fraction 1.5", "0 or more and below 1"]),
        ({"data_path": ["a"], "train_data_path": ["b"]}, 1, ["--data-path"]),
        ({"rampup_batch_size": [4, 4, 100]}, 1, ["--train-samples"]),
        ({"attention_backend": "flash", "attention_dropout": 0.1}, 1, ["--attention-dropout 0.1", "by element"]),
        ({"attention_backend": "fused", "precision": "fp32"}, 1, ["fp32", "bf16 and fp16"]),
        ({"attention_backend": "flash2", "kv_channels": 12}, 1, ["12 channels", "multiple of 8"]),
        (
            {"rampup_batch_size": [4, 8, 100], "train_iters": None, "train_samples": 100, "global_batch_size": 16},
            1,
            ["increments"],
        ),
    ],
)
def test_impossible_combinations(knobs, world, parts):
    with pytest.raises(ConfigError) as caught:
        check_run(config(**knobs), world)
    for part in (*parts, "\n  rule: ", "\n  fix:  "):
        assert part in str(caught.value)


def test_modules_that_cannot_be_recomputed() -> None:
    with pytest.raises(ConfigError, match="--recompute-modules mlp"):
        check_run(config(recompute_modules=["layernorm", "mlp"]))


@pytest.mark.parametrize(
    "knob", [knob for knob in KNOBS.values() if knob.kind is str and not knob.choices], ids=lambda knob: knob.name
)
def test_an_empty_text_names_nothing(knob: Knob) -> None:
    """It comes from a shell's variable that is not set."""
    with pytest.raises(ConfigError) as caught:
        check_run(config(**{knob.name: ["a", ""] if knob.is_list else ""}))
    assert str(caught.value).splitlines()[0] == f"{knob.flag} ''"
    assert "not empty" in str(caught.value)
