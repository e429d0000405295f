"""Parameters and FLOPs against published numbers, transformers and torch's counter."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from helpers.tiny_gpt import tiny_config
from steel_megatron.cli.main import main
from steel_megatron.config import ModelConfig, load_run_config, preset_names
from steel_megatron.jobs.tables import markdown_table
from steel_megatron.model.flops import model_flops
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import parameters_with_spec, spec_of
from steel_megatron.plan.report import planned, preset_table
from steel_megatron.plan.size import count_parameters

PUBLISHED = {
    "demo": 9_998_592,
    "gpt2_124m": 124_439_808,
    "llama3.2_1b": 1_235_814_400,
    "qwen2_0.5b": 494_032_768,
    "qwen2_1.5b": 1_543_714_304,
    "qwen3_0.6b": 596_049_920,
    "steel_1b": 1_122_249_216,
    "tinyllama_1.1b": 1_100_048_384,
}


def preset(name: str):
    return planned(load_run_config(preset=name))


def test_every_preset_has_its_number_here():
    assert sorted(PUBLISHED) == preset_names()


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_of_presets(name):
    assert count_parameters(preset(name).model).total == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "family", "options"),
    [
        ("gpt2_124m", "gpt2", {}),
        ("qwen2_0.5b", "qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True, "vocab_size": 151936}),
        ("qwen3_0.6b", "qwen3", {"num_key_value_heads": 8, "tie_word_embeddings": True, "head_dim": 128}),
        ("tinyllama_1.1b", "llama", {"num_key_value_heads": 4}),
        ("llama3.2_1b", "llama", {"num_key_value_heads": 8, "tie_word_embeddings": True}),
        ("steel_1b", "qwen3", {"num_key_value_heads": 4, "tie_word_embeddings": True, "head_dim": 128}),
    ],
)
def test_parameters_agree_with_transformers(name, family, options):
    model = preset(name).model
    if family != "gpt2":
        options = {
            "vocab_size": model.vocab_size,
            "hidden_size": model.hidden_size,
            "intermediate_size": model.ffn_hidden_size,
            "num_hidden_layers": model.num_layers,
            "num_attention_heads": model.num_attention_heads,
            **options,
        }
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options))
    assert theirs.num_parameters() == count_parameters(model).total


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layer_types": ("sliding_attention", "full_attention"), "window_size": 8},
        {"qk_layernorm": True, "untie_embeddings_and_output_weights": False},
        {"add_qkv_bias": True, "kv_channels": 24},
        {
            "normalization": "LayerNorm",
            "activation": "gelu",
            "add_bias_linear": True,
            "qk_layernorm": True,
            "position_embedding_type": "learned_absolute",
        },
    ],
)
def test_layers_tell_the_parameters_that_are_built(options):
    config = tiny_config(num_layers=3, **options)
    told, found = count_parameters(config), Counter()
    for parameter in parameters_with_spec([GPT(config, Grid.single(), dtype=torch.bfloat16, device="meta")]):
        for piece in spec_of(parameter).pieces:
            rows = piece.shape[0] if piece.rows is None else piece.rows
            row, parts = math.prod(piece.shape[1:]), piece.name.split(".")
            module = parts[2] if parts[0] == "blocks" else parts[0].removeprefix("position_")
            module = "norms" if any(part.endswith("norm") for part in parts) else module
            found[module] += rows * row
            found["padding"] += (piece.shape[0] - rows) * row
    names = ("embedding", "attention", "mlp", "norms", "head", "padding")
    assert {name: getattr(told, name) for name in names} == {name: found[name] for name in names}


def test_a_window_bounds_the_keys_of_its_layers_alone():
    """Counted one by one: of 32 tokens the i-th sees min(i, 8) keys, up to half a key of the diagonal."""
    full = tiny_config(num_layers=4)
    mixed = tiny_config(num_layers=4, layer_types=("sliding_attention", "full_attention"), window_size=8)
    whole, some = model_flops(full, 32), model_flops(mixed, 32)
    assert some.attention_all_keys == pytest.approx(whole.attention_all_keys * (2 * 8 + 2 * 32) / (4 * 32))
    channels = full.num_attention_heads * full.head_dim
    keys = sum(min(i, 8) - 0.5 * (i <= 8) for i in range(1, 33)) / 32
    assert some.attention_causal == pytest.approx(12 * channels * (2 * keys + 2 * 16))
    assert (some.mlp, some.head, some.attention_projections) == (whole.mlp, whole.head, whole.attention_projections)
    assert model_flops(tiny_config(layer_types=("sliding_attention",), window_size=64), 32) == model_flops(
        tiny_config(), 32
    )


def test_plan_has_a_row_for_each_kind_of_layer(capsys):
    kinds = ["--layer-types", "sliding_attention", "sliding_attention", "full_attention", "--window-size", "512"]
    assert main(["plan", "--preset", "steel_1b", *kinds]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "_attention, dense" in line]
    assert [(row[0], row[2]) for row in rows] == [("sliding_attention,", "12"), ("full_attention,", "6")]
    assert float(rows[0][4].replace(",", "")) < float(rows[1][4].replace(",", ""))  # FLOPs
    assert main(["plan", "--preset", "steel_1b"]) == 0
    assert "_attention" not in capsys.readouterr().out


def test_flops_are_those_of_the_papers():
    """TinyLlama: 7.31 GFLOP per token with attention to all keys, 6.76 causal."""
    flops = model_flops(preset("tinyllama_1.1b").model, 2048)
    assert flops.total == pytest.approx(7.31e9, rel=1e-3)
    assert flops.total_causal == pytest.approx(6.76e9, rel=1e-3)


def test_flops_are_six_per_matmul_parameter_and_token():
    """Counted by torch on a real forward and backward pass (its counter has attention in full as well)."""
    from torch.utils.flop_counter import FlopCounterMode

    config = ModelConfig(
        num_layers=2,
        hidden_size=64,
        ffn_hidden_size=128,
        num_attention_heads=4,
        num_query_groups=4,
        vocab_size=128,
    )
    model = GPT(config, Grid.single(), dtype=torch.float32, seed=1)
    tokens = torch.randint(0, 128, (2, 32))
    with FlopCounterMode(display=False) as counter:
        model.loss(tokens, tokens, torch.ones_like(tokens, dtype=torch.bool))[0].backward()
    attention = sum(count for name, count in counter.get_flop_counts()["Global"].items() if "attention" in str(name))
    flops = model_flops(config, 32)
    expected = (flops.attention_projections + flops.mlp + flops.head) * tokens.numel()
    assert counter.get_total_flops() - attention == expected


@pytest.mark.parametrize("page", ["models.md", "models.zh-CN.md"])
def test_the_table_in_the_docs_is_the_code_s(page):
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    table = text.split("<!-- table: steel plan --list --markdown -->\n")[1].split("\n<!-- end of table -->")[0]
    assert table == markdown_table(preset_table())


def test_plan_prints_days(capsys):
    status = main(
        ["plan", "--preset", "steel_1b", "--devices", "8", "--peak-tflops", "312", "--mfu", "0.6", "--tokens", "1T"]
    )
    output = capsys.readouterr().out
    assert status == 0
    assert "59.0 days" in output
    assert "1,122,249,216" in output


def test_plan_refuses_tokens_without_a_peak(capsys):
    assert main(["plan", "--preset", "steel_1b", "--tokens", "1T"]) == 2
    assert "--peak-tflops" in capsys.readouterr().err


def test_plan_honours_the_layout(capsys):
    layout = ["--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2"]
    assert main(["plan", "--preset", "steel_1b", *layout]) == 0
    output = capsys.readouterr().out
    assert "memory per device of 4 = tensor 2 × data 1 × pipeline 2" in output
    assert "tokens/s" not in output  # no peak was given
    assert main(["plan", "--preset", "steel_1b", *layout, "--devices", "6"]) == 2
    assert "a multiple of tensor × pipeline" in capsys.readouterr().err
