"""A block copies no activation that a view can serve: copies are counted, also inside compiled operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from helpers.kernels import needs_cpu_kernels, set_backend
from helpers.tiny_gpt import tiny_config, tiny_gpt
from steel_megatron.model.block import through_blocks
from steel_megatron.model.context import Context
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.cpu_products import VARIABLE
from steel_megatron.ops.strips import CPU_ELEMENTS
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid

# Every activation has more elements than a tile, in which fp32 arithmetic on narrower tensors goes, and than a weight.
BATCH, LENGTH = 96, 128
GPT2 = {
    "normalization": "LayerNorm",
    "activation": "gelu_tanh",
    "position_embedding_type": "learned_absolute",
    "add_bias_linear": True,
}


@pytest.fixture(autouse=True)
def products_of_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU has them; a CPU without instructions for them copies pieces of matrices to fp32 (cpu_products.py)."""
    monkeypatch.setenv(VARIABLE, "torch")


def copies(function: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What the function returns, and its copies of activations: what clone, contiguous and a change of type end in.

    That a matmul puts its bias where its result is to be does not count.
    """
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        result = function()
    found = []
    for event in profiler.events():
        inside = "" if event.cpu_parent is None else event.cpu_parent.name
        if event.name == "aten::copy_" and inside != "aten::addmm" and math.prod(event.input_shapes[0]) > CPU_ELEMENTS:
            found.append(f"copy {event.input_shapes[0]} {inside}")
        if event.name == "aten::cat":
            found.append("cat")
    return result, found


def copies_of_a_block(options: dict[str, Any], packing: Packing | None = None) -> tuple[list[str], list[str]]:
    """In forward and in backward, in bf16 with fp32 gradients."""
    model = tiny_gpt(tiny_config(num_layers=1, **options), dtype=torch.bfloat16)
    data_parallel = DataParallel([model], Grid.single(), shard=False)
    x = torch.randn(BATCH, LENGTH, 32, dtype=torch.bfloat16, requires_grad=True)
    context = Context(model._rotation(x[..., 0], None), packing)
    through_blocks(model.blocks, x, context)  # tables that stay are made
    y, forward = copies(lambda: through_blocks(model.blocks, x, context))
    _, backward = copies(lambda: y.backward(torch.ones_like(y)))
    assert data_parallel.grads.count_nonzero() > 0
    return forward, backward


@needs_cpu_kernels
@pytest.mark.parametrize(
    ("options", "backward"),
    [
        ({}, []),
        ({"num_query_groups": 4, "activation": "geglu", "rotary_percent": 0.5}, []),
        ({"qk_layernorm": True, "rotary_percent": 0.5}, []),
        ({"qk_layernorm": True, "position_embedding_type": "none"}, []),
        (GPT2, ["cat"]),  # the gradients of queries, keys and values become the projection's
    ],
    ids=["llama", "multi-head", "norms of heads", "norms of heads, no positions", "gpt2"],
)
def test_our_kernels_copy_nothing(monkeypatch, options, backward):
    set_backend(monkeypatch, "auto")
    assert copies_of_a_block(options) == ([], backward)


@needs_cpu_kernels
def test_packed_documents_are_not_copied(monkeypatch):
    set_backend(monkeypatch, "auto")
    lengths = [100, 28, *[128] * (BATCH - 1)]
    assert copies_of_a_block({}, Packing.from_lengths(lengths, "cpu")) == ([], [])


@pytest.mark.parametrize(("options", "how"), [({}, "copy"), (GPT2, "cat")], ids=["llama", "gpt2"])
def test_torch_copies_only_to_join_the_projections_gradient(monkeypatch, options, how):
    set_backend(monkeypatch, "torch")
    forward, backward = copies_of_a_block(options)
    assert (forward, [name.split()[0] for name in backward]) == ([], [how])


def test_the_count_sees_copies():
    x = torch.randn(BATCH, LENGTH, 32)
    _, found = copies(
        lambda: (x.clone(), x.transpose(1, 2).contiguous(), x.bfloat16(), torch.cat([x, x]), x[0, 0].clone())
    )
    assert [name.split()[0] for name in found] == ["copy", "copy", "copy", "cat"]
