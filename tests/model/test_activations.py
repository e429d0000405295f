"""What is kept from forward to backward is what the list says, to the byte: a tensor kept twice or in vain fails."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from helpers.kept_tensors import Operations, saved_tensors
from helpers.kernels import needs_cpu_kernels, set_backend
from helpers.processes import run_processes
from helpers.tiny_gpt import random_tokens, tiny_config
from steel_megatron.config import ModelConfig, ParallelConfig
from steel_megatron.config.training import RECOMPUTE_MODULES
from steel_megatron.model.activations import chunk_kept
from steel_megatron.model.block import through_blocks
from steel_megatron.model.block_cost import block_kept
from steel_megatron.model.context import Context
from steel_megatron.model.cost import Sizes, total_bytes
from steel_megatron.model.ends_cost import embedding_kept, head_kept
from steel_megatron.model.gpt import GPT
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops import cpu_products
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.dropout import DropoutKey
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor import linear_cross_entropy
from steel_megatron.parallel.tensor.fp8 import Fp8Linears
from steel_megatron.parallel.tensor.kinds import Linears

BATCH, LENGTH = 2, 16
TOKENS = BATCH * LENGTH
LOSS = 4  # bytes: the sum that is returned
GPT2 = {
    "normalization": "LayerNorm",
    "activation": "gelu_tanh",
    "position_embedding_type": "learned_absolute",
    "add_bias_linear": True,
    "num_query_groups": 4,
    "untie_embeddings_and_output_weights": False,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "grouped": {},
    "multi-head": {"num_query_groups": 4},
    "multi-query, wide heads": {"num_query_groups": 1, "kv_channels": 24},
    "qk-norm": {"qk_layernorm": True, "add_qkv_bias": True},
    "geglu, half rotated": {"activation": "geglu", "rotary_percent": 0.5},
    "squared relu": {"activation": "squared_relu"},
    "gpt2": GPT2,
    "dropout": {"hidden_dropout": 0.1},
    "windows": {"layer_types": ("sliding_attention", "full_attention"), "window_size": 5},
    "windows, qk-norm": {"layer_types": ("sliding_attention",), "window_size": 5, "qk_layernorm": True},
    "a window as long as the text": {"layer_types": ("sliding_attention",), "window_size": LENGTH},
}
RECOMPUTE = {
    "none": Recompute(),
    "selective": Recompute("selective"),
    "core_attn": Recompute("selective", modules=("core_attn",)),
    "selective, all": Recompute("selective", modules=RECOMPUTE_MODULES),
    "full": Recompute("full"),
    "full, groups of two": Recompute("full", "uniform", 2),
    "full, first block": Recompute("full", "block", 1),
}


def model_of(
    config: ModelConfig, grid: Grid, dtype: torch.dtype, recompute: Recompute, linears: Linears | None = None
) -> GPT:
    """The model as a run has it: weights' gradients go to a buffer."""
    model = GPT(config, grid, dtype=dtype, seed=1, recompute=recompute, linears=linears)
    model.owner = DataParallel([model], grid, shard=False)
    return model


def kept_by_a_loss(model: GPT, wait_for: float = 0.0, **more: Any) -> int:
    """Bytes that are there between the forward and the backward pass and were not before.

    ``wait_for``: so many are expected; gloo's threads let go of what was sent a little later.
    """
    tokens = random_tokens(BATCH, LENGTH)
    arguments = tokens, tokens, torch.ones_like(tokens, dtype=torch.bool)
    model.loss(*arguments, **more)[0].backward()  # tables that stay are made
    with Operations() as operations:
        loss = model.loss(*arguments, **more)[0]
    deadline = time.monotonic() + 20
    while (kept := sum(storage.nbytes() for storage in operations.live())) > wait_for + LOSS > LOSS:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    loss.backward()
    del loss
    return kept - LOSS


def listed(config: ModelConfig, recompute: Recompute, width: int, *, chunked: bool = False, tp: int = 1, sp=False):
    """The same by the list."""
    sizes = Sizes.of(config, tp, sp, LENGTH, by_strips=True)
    blocks, _ = chunk_kept(config, recompute, sizes, width, range(config.num_layers))
    ends = [*embedding_kept(config, sizes, tensor_parallel=tp), *head_kept(config, sizes, chunked=chunked)]
    return TOKENS * (blocks + total_bytes(ends, width))


@needs_cpu_kernels
@pytest.mark.parametrize("recompute", RECOMPUTE.values(), ids=RECOMPUTE)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_list_with_our_kernels(monkeypatch, options, recompute):
    set_backend(monkeypatch, "steel")
    config = tiny_config(num_layers=3, **options)
    key = DropoutKey(1, torch.arange(BATCH)) if config.hidden_dropout else None
    model = model_of(config, Grid.single(), torch.bfloat16, recompute)
    assert kept_by_a_loss(model, dropout=key) == listed(config, recompute, 2)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_list_with_torch(monkeypatch, options):
    """In fp32: of a bf16 LayerNorm on a CPU torch keeps statistics in bf16."""
    set_backend(monkeypatch, "torch")
    config = tiny_config(**options)
    key = DropoutKey(1, torch.arange(BATCH)) if config.hidden_dropout else None
    model = model_of(config, Grid.single(), torch.float32, Recompute())
    assert kept_by_a_loss(model, dropout=key) == listed(config, Recompute(), 4)


@pytest.mark.parametrize(
    ("backend", "products"), [("auto", "torch"), ("torch", "torch"), ("auto", "fp32"), ("torch", "fp32")]
)
def test_packed_documents(monkeypatch, backend, products):
    set_backend(monkeypatch, backend)
    monkeypatch.setenv(cpu_products.VARIABLE, products)
    config = tiny_config()
    model = model_of(config, Grid.single(), torch.bfloat16, Recompute())
    packing = Packing.from_lengths([5, 11, 16], "cpu")
    # Document by document, torch's outputs are kept beside the tensor that they are put together in.
    copies = config.num_layers * config.hidden_size * 2 * TOKENS if backend == "torch" else 0
    if (backend, products) == ("torch", "fp32"):  # these are computed again, and so are their sums of exp
        copies = -config.num_layers * config.num_attention_heads * 4 * TOKENS
    assert kept_by_a_loss(model, packing=packing) == listed(config, Recompute(), 2) + copies


@needs_cpu_kernels
@pytest.mark.parametrize("recompute", RECOMPUTE.values(), ids=RECOMPUTE)
@pytest.mark.parametrize("options", [{}, GPT2], ids=["grouped", "gpt2"])
def test_layers_in_8_bits(monkeypatch, options, recompute):
    """Beside the list: a scale per layer that keeps its input. Rounded weights are there before and after."""
    set_backend(monkeypatch, "steel")
    config = tiny_config(num_layers=3, **options)
    model = model_of(config, Grid.single(), torch.bfloat16, recompute, Fp8Linears("hybrid"))
    sizes = Sizes.of(config, eight_bit=True)
    blocks, _ = chunk_kept(config, recompute, sizes, 2, range(3))
    expected = TOKENS * (blocks + total_bytes(head_kept(config, sizes, chunked=False), 2))
    again = sum(len(group) for group, again in recompute.groups(range(3)) if again)
    with model.linears.step():
        assert kept_by_a_loss(model) == expected + 4 * 4 * (3 - again)


def test_a_head_in_chunks_keeps_its_gradient_instead_of_logits(monkeypatch):
    monkeypatch.setitem(linear_cross_entropy.CHUNK_BYTES, "cpu", 2048)
    config = tiny_config()
    model = model_of(config, Grid.single(), torch.bfloat16, Recompute())
    assert kept_by_a_loss(model, loss_gradient=1.0) == listed(config, Recompute(), 2, chunked=True)


@needs_cpu_kernels
def test_autograd_saves_nothing_else(monkeypatch):
    """What is kept is what operations saved: nothing is held by a reference somewhere."""
    set_backend(monkeypatch, "steel")
    config = tiny_config(qk_layernorm=True)
    model = model_of(config, Grid.single(), torch.bfloat16, Recompute())
    x = torch.randn(BATCH, LENGTH, config.hidden_size, dtype=torch.bfloat16, requires_grad=True)
    rotation = model._rotation(x[..., 0], None)
    assert rotation is not None
    with saved_tensors([*model.parameters(), rotation.cos, rotation.sin]) as saved:
        through_blocks(model.blocks[:1], x, Context(rotation))
    constants = sum(tensor.nbytes for tensor in saved.held.values() if tensor.dtype == torch.int32)
    listed_bytes = TOKENS * total_bytes(block_kept(config, 0, Sizes.of(config)), 2)
    assert saved.bytes - constants == listed_bytes, saved


def every_rank_keeps_its_share() -> None:
    for sequence_parallel in (False, True):
        parallel = ParallelConfig(tensor_model_parallel_size=2, sequence_parallel=sequence_parallel)
        grid = Grid.create(parallel)
        for options in ({}, {"qk_layernorm": True, "activation": "gelu"}, {"num_query_groups": 1}):
            for recompute in (Recompute(), Recompute("selective"), Recompute("full")):
                config = tiny_config(**options)
                model = model_of(config, grid, torch.bfloat16, recompute)
                expected = listed(config, recompute, 2, tp=2, sp=sequence_parallel)
                found = kept_by_a_loss(model, wait_for=expected)
                assert found == expected, (sequence_parallel, options, recompute, found, expected)


def test_tensor_and_sequence_parallel():
    run_processes(every_rank_keeps_its_share, 2)
