"""Parameters, FLOPs and memory against published numbers and against what a real step keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from steel_megatron.cli.main import main
from steel_megatron.config import ModelConfig, ParallelConfig, TrainingConfig, load_run_config, preset_names
from steel_megatron.model.flops import model_flops
from steel_megatron.model.gpt import GPT
from steel_megatron.model.recompute import Recompute
from steel_megatron.parallel.mesh import Mesh
from steel_megatron.plan.report import markdown_table, planned, preset_table
from steel_megatron.plan.size import activation_elements, count_parameters, estimate_memory

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
    model = GPT(config, Mesh.single(), dtype=torch.float32, seed=1)
    tokens = torch.randint(0, 128, (2, 32))
    with FlopCounterMode(display=False) as counter:
        model.loss(tokens, tokens, torch.ones_like(tokens, dtype=torch.bool)).backward()
    attention = sum(count for name, count in counter.get_flop_counts()["Global"].items() if "attention" in str(name))
    flops = model_flops(config, 32)
    expected = (flops.attention_projections + flops.mlp + flops.head) * tokens.numel()
    assert counter.get_total_flops() - attention == expected


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"qk_layernorm": True},
        {"activation": "gelu_tanh", "num_query_groups": 8},
        {"normalization": "LayerNorm", "position_embedding_type": "learned_absolute", "add_bias_linear": True},
    ],
)
def test_kept_activations_are_as_predicted(options, recompute):
    config = preset("demo").model
    config.num_layers = 4
    for name, value in options.items():
        setattr(config, name, value)
    model = GPT(config, Mesh.single(), dtype=torch.bfloat16, seed=1, recompute=Recompute(recompute))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used again
        return tensor

    tokens = torch.randint(0, 8000, (2, 64))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(tokens, tokens, torch.ones_like(tokens, dtype=torch.bool))
    measured = sum(size for size, _ in kept.values()) / (tokens.numel() * 2)
    predicted = activation_elements(config, recompute)
    # What is computed again in the backward pass is not there yet: a block, or what a block's projections do not keep.
    again = {"none": 0, "selective": 384, "full": activation_elements(config, "none") // 4}[recompute]
    assert measured == pytest.approx(predicted, abs=again + 0.03 * predicted)


def test_zero1_divides_the_optimizer_only():
    model, training = preset("steel_1b").model, TrainingConfig()
    one = estimate_memory(model, training, ParallelConfig(), 1)
    eight = estimate_memory(model, training, ParallelConfig(), 8)
    plain = estimate_memory(model, training, ParallelConfig(use_distributed_optimizer=False), 8)
    assert eight.optimizer == one.optimizer // 8
    assert (eight.weights, eight.gradients, eight.activations) == (one.weights, one.gradients, one.activations)
    assert plain == one


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
