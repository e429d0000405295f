"""Blocks whose pieces are compiled compute what the others do, and compile once."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings

from helpers.tiny_gpt import OPTIONS, random_tokens, tiny_config, tiny_gpt
from steel_megatron.config import ConfigError
from steel_megatron.model.block import use_pieces
from steel_megatron.model.gpt import GPT
from steel_megatron.model.pieces import Pieces
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops.attention import Packing

CPU = torch.device("cpu")


def gradients(model: GPT, packing: Packing | None = None, samples: int = 2) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of some samples."""
    tokens = random_tokens(samples, 24)
    model.zero_grad()
    loss = model.loss(tokens, tokens.roll(-1, 1), torch.ones_like(tokens, dtype=torch.bool), packing=packing)[0]
    loss.backward()
    return loss.item(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_equal(model: GPT, expected: GPT, **more: object) -> None:
    loss, grads = gradients(model, **more)
    expected_loss, expected_grads = gradients(expected, **more)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def compare(options: dict[str, Any]) -> None:
    """The compiled model's names, loss and gradients are those of the other."""
    model, expected = tiny_gpt(tiny_config(**options)), tiny_gpt(tiny_config(**options))
    use_pieces(model.blocks, Pieces(CPU, "aot_eager"))
    assert list(model.state_dict()) == list(expected.state_dict())
    assert_equal(model, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"qk_layernorm": True, "rotary_percent": 0.5},
        {"normalization": "LayerNorm", "activation": "geglu", "add_bias_linear": True, "qk_layernorm": True},
        {"position_embedding_type": "learned_absolute", "activation": "gelu", "num_query_groups": 4},
        {"activation": "helpers.outside:mish {gated: true}"},
    ],
)
def test_what_the_pieces_compute(options):
    compare(options)


@pytest.mark.slow
@settings(max_examples=60, phases=[Phase.generate])
@given(OPTIONS)
def test_every_option_of_the_model(options):
    compare(options)


@pytest.mark.parametrize(
    "recompute",
    [pytest.param("none", marks=pytest.mark.slow), pytest.param("selective", marks=pytest.mark.slow), "full"],
)
def test_inductor_compiles_once_for_all_blocks_and_documents(recompute):
    config = tiny_config(num_layers=4, qk_layernorm=True)
    model = tiny_gpt(config, recompute=Recompute(recompute))
    expected = tiny_gpt(config)
    use_pieces(model.blocks, Pieces(CPU))
    if recompute == "none":
        with torch.no_grad():
            assert_equal_forward(model, expected)
    assert_equal(model, expected)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for number in range(1, 12):  # more lengths than torch.compile takes shapes
        assert_equal(model, expected, packing=Packing.from_lengths([24, number, 24 - number], CPU))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


def assert_equal_forward(model: GPT, expected: GPT) -> None:
    torch.testing.assert_close(model(random_tokens(2, 24)), expected(random_tokens(2, 24)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_in_bf16_the_pieces_are_as_exact_as_the_kernels():
    config = tiny_config(qk_layernorm=True)
    exact = gradients(tiny_gpt(config))[1]
    models = {name: tiny_gpt(config, dtype=torch.bfloat16) for name in ("eager", "compiled")}
    use_pieces(models["compiled"].blocks, Pieces(CPU))
    errors = {}
    for name, model in models.items():
        grads = gradients(model)[1]
        errors[name] = sum(float((grads[key].float() - exact[key]).norm()) for key in exact)
    assert errors["compiled"] < 1.2 * errors["eager"]


def test_what_cannot_be_compiled_is_told_at_once():
    def broken(graph, inputs):
        raise RuntimeError("no working compiler")

    with pytest.raises(ConfigError, match="no working compiler") as told:
        Pieces(CPU, broken)
    assert "install g++" in told.value.fix


@pytest.mark.slow
def test_without_a_compiler_the_error_says_what_to_install(tmp_path):
    program = (
        "import torch\n"
        "from steel_megatron.config import ConfigError\n"
        "from steel_megatron.model.pieces import Pieces\n"
        "try:\n"
        "    Pieces(torch.device('cpu'))\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    env = {**os.environ, "CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    assert "--compile-blocks on cpu" in told
    assert "install g++" in told
