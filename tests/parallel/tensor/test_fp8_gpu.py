"""8-bit layers on a GPU: torch's matmul, our kernels that round, and Transformer Engine where it is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from steel_megatron.config import ModelConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.ops import backends, transformer_engine
from steel_megatron.ops.native import library
from steel_megatron.ops.scaled_matmul import E4M3, E5M2, largest_magnitude, multiply, multiply_reference, quantise
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.fp8 import Fp8Linears
from steel_megatron.parallel.tensor.kinds import Linears
from steel_megatron.parallel.tensor.transformer_engine import TransformerEngineLinears

CAPABILITY = torch.cuda.get_device_capability() if torch.cuda.is_available() else (0, 0)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(CAPABILITY < (8, 9), reason="no GPU with 8-bit tensor cores here"),
]
SHAPE: dict[str, Any] = {
    "num_layers": 2,
    "hidden_size": 256,
    "ffn_hidden_size": 512,
    "num_attention_heads": 4,
    "num_query_groups": 2,
    "max_position_embeddings": 128,
    "vocab_size": 512,
    "add_bias_linear": True,
    "init_method_std": 0.1,
}


@pytest.mark.parametrize("left", [E4M3, E5M2])
@pytest.mark.parametrize(
    ("out", "fast"),
    [(torch.bfloat16, True), (torch.float16, True), (torch.bfloat16, False), (torch.float32, False)],  # as layers do
)
@pytest.mark.parametrize("shape", [(16, 16, 16), (33, 48, 80), (1, 16, 256), (512, 1024, 4096)])
def test_the_product(left, out, fast, shape):
    m, n, k = shape
    generator = torch.Generator("cuda").manual_seed(1)
    x, w = (torch.randn(rows, k, generator=generator, device="cuda", dtype=torch.bfloat16) for rows in (m, n))
    a, b = quantise(x, left, largest_magnitude(x)), quantise(w, E4M3, largest_magnitude(w))
    exact = multiply_reference(a, b, torch.float32)
    largest = float(exact.abs().max())
    # The tensor cores' running sum has fewer bits than fp32.
    tolerance = {"rtol": 2.0**-7, "atol": (5e-3 if fast else 1e-3) * largest}
    torch.testing.assert_close(multiply(a, b, out, fast=fast).float(), exact, **tolerance)


def gradients(linears: Linears, device: str) -> tuple[float, torch.Tensor]:
    grid = Grid.single(device)
    model = GPT(ModelConfig(**SHAPE), grid, dtype=torch.bfloat16, seed=7, linears=linears)
    data_parallel = DataParallel([model], grid, shard=False)
    generator = torch.Generator().manual_seed(3)
    total = 0.0
    with linears.step():
        for number in range(2):
            if number == 1:
                data_parallel.last_micro_batch()
            tokens = torch.randint(0, SHAPE["vocab_size"], (2, 129), generator=generator).to(device)
            loss = model.loss(tokens[:, :-1], tokens[:, 1:], torch.ones(2, 128, dtype=torch.bool, device=device))[0]
            loss.backward()
            total += loss.item()
    data_parallel.finish_grads()
    return total, data_parallel.grads.cpu()


def assert_near(found: tuple[float, torch.Tensor], expected: tuple[float, torch.Tensor], cosine: float) -> None:
    assert abs(found[0] / expected[0] - 1) < 5e-3
    assert torch.nn.functional.cosine_similarity(found[1], expected[1], dim=0) > cosine
    assert abs(found[1].norm() / expected[1].norm() - 1) < 0.02


@pytest.mark.parametrize("rounding", ["torch", "steel_cuda"])
def test_a_model_has_the_gradients_it_has_on_a_cpu(rounding):
    if rounding == "steel_cuda" and not library.built("cuda"):
        pytest.skip("the CUDA kernels were not built")
    with backends.forced("quantise", rounding, "cuda"):
        found = gradients(Fp8Linears("hybrid"), "cuda")
    assert_near(found, gradients(Fp8Linears("hybrid"), "cpu"), 0.995)


@pytest.mark.skipif(importlib.util.find_spec("transformer_engine") is None, reason="no Transformer Engine here")
@pytest.mark.parametrize("recipe", [None, "tensorwise", "delayed"])
def test_transformer_engine_has_our_gradients(recipe):
    transformer_engine.require("cuda")
    ours: Linears = Linears() if recipe is None else Fp8Linears("hybrid")
    made = None if recipe is None else transformer_engine.make_recipe("hybrid", recipe, 16, reduce_amax=False)
    found = gradients(TransformerEngineLinears(made), "cuda")
    # Delayed scales know nothing yet in the first step.
    assert_near(found, gradients(ours, "cuda"), 0.999 if recipe is None else 0.98 if recipe == "tensorwise" else 0.9)
