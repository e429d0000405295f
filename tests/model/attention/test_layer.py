"""The attention layer against the formula, head by head and token by token."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.kept_tensors import saved_tensors
from helpers.tiny_gpt import tiny_config
from steel_megatron.config import ModelConfig
from steel_megatron.model.attention.layer import Attention, output_init
from steel_megatron.model.context import Context
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.dropout import DropoutKey
from steel_megatron.ops.rope import RopeSettings, rotation
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.parameter import parameters_with_spec, spec_of

LENGTH = 7


def layer(config: ModelConfig, recompute: bool = False, window: int | None = None, number: int = 1) -> Attention:
    made = Attention(
        config, number, Grid.single(), dtype=torch.float32, device="cpu", recompute=recompute, window=window
    )
    with torch.no_grad():
        for at, parameter in enumerate(made.parameters()):
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(at)))
    return made


def context(config: ModelConfig, **more: Any) -> Context:
    rope = config.position_embedding_type == "rope"
    return Context(
        rotation=rotation(RopeSettings.from_config(config), LENGTH, torch.device("cpu")) if rope else None, **more
    )


def hidden(seed: int = 5) -> Tensor:
    return torch.randn(2, LENGTH, 32, generator=torch.Generator().manual_seed(seed))


def turned(x_SD: Tensor, config: ModelConfig) -> Tensor:
    """Rotated as complex numbers: channel i and channel i + R/2 are one, R = the rotated channels."""
    half = int(config.head_dim * config.rotary_percent) // 2
    angles = torch.outer(torch.arange(len(x_SD)), config.rotary_base ** (-torch.arange(half) / half))
    pairs = torch.complex(x_SD[:, :half], x_SD[:, half : 2 * half]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([pairs.real, pairs.imag, x_SD[:, 2 * half :]], 1)


def formula(made: Attention, config: ModelConfig, x_BSH: Tensor, window: int | None = None, first: int = 0) -> Tensor:
    """What the layer promises, without a kernel or a batched product; documents begin at 0 and at ``first``."""
    names = ("query", "key", "value")
    rows = made.query_key_value.weight.split(made.query_key_value.sizes)
    bias = made.query_key_value.bias
    biases = [0.0] * 3 if bias is None else list(bias.split(made.query_key_value.sizes))
    size, groups = config.head_dim, config.query_groups
    out = []
    for x_SH in x_BSH:
        parts = {name: x_SH @ weight.t() + b for name, weight, b in zip(names, rows, biases, strict=True)}
        heads = {name: list(part.split(size, 1)) for name, part in parts.items()}
        for name, norm in (("query", made.query_norm), ("key", made.key_norm)):
            if norm is not None:
                heads[name] = [norm(head.contiguous())[0] for head in heads[name]]
            if config.position_embedding_type == "rope":
                heads[name] = [turned(head, config) for head in heads[name]]
        found = []
        for number, query in enumerate(heads["query"]):
            group = number * groups // config.num_attention_heads
            key, value = heads["key"][group], heads["value"][group]
            seen = []
            for place in range(len(x_SH)):
                start = max(0 if place < first else first, 0 if window is None else place + 1 - window)
                scores = query[place] @ key[start : place + 1].t() / math.sqrt(size)
                seen.append(torch.softmax(scores, 0) @ value[start : place + 1])
            found.append(torch.stack(seen))
        y = torch.cat(found, 1) @ made.output.weight.t()
        out.append(y if made.output.bias is None else y + made.output.bias)
    return torch.stack(out)


CASES: dict[str, dict[str, Any]] = {
    "grouped, rope": {},
    "multi-head, half rotated": {"num_query_groups": 4, "rotary_percent": 0.5},
    "multi-query, no positions": {"num_query_groups": 1, "position_embedding_type": "none"},
    "heads wider than the model, biases": {"kv_channels": 12, "add_bias_linear": True},
    "biases of the projection alone": {"add_qkv_bias": True},
    "RMS norms of queries and keys": {"qk_layernorm": True},
    "layer norms of queries and keys": {"qk_layernorm": True, "normalization": "LayerNorm"},
}


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_formula_and_so_are_its_gradients(name: str, window: int | None) -> None:
    config = tiny_config(**CASES[name])
    made, x = layer(config, window=window), hidden().requires_grad_()
    found, expected = made(x, context(config)), formula(made, config, x, window)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    given, wanted = (torch.autograd.grad(y, [x, *made.parameters()], grad) for y in (found, expected))
    for ours, theirs in zip(given, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("window", [None, 2])
def test_packed_documents_see_themselves_alone(window: int | None) -> None:
    config = tiny_config(position_embedding_type="none")
    made = layer(config, window=window)
    packing = Packing.from_lengths([3, 4, 3, 4], "cpu")
    with torch.no_grad():
        found = made(hidden(), context(config, packing=packing))
        torch.testing.assert_close(found, formula(made, config, hidden(), window, first=3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["grouped, rope", "RMS norms of queries and keys", "multi-query, no positions"])
def test_recomputing_the_core_changes_no_bit_and_keeps_less(name: str) -> None:
    """With RoPE alone the projection is turned in place, which must not happen a second time."""
    config = tiny_config(**CASES[name], attention_dropout=0.3)
    shared = context(config, dropout=DropoutKey(7, torch.tensor([3, 4])))
    results = []
    for recompute in (False, True):
        made, x = layer(config, recompute), hidden().requires_grad_()
        with saved_tensors(made.parameters()) as saved:
            y = made(x, shared)
        results.append((saved.bytes, y, *torch.autograd.grad(y.square().sum(), [x, *made.parameters()])))
    (kept, *plain), (kept_again, *again) = results
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))
    assert kept_again < kept
    with torch.no_grad():
        assert torch.equal(layer(config, recompute=True)(hidden(), shared), plain[0])


def test_dropout_acts_in_training_only_and_differs_between_layers() -> None:
    config = tiny_config(attention_dropout=0.5)
    key = DropoutKey(7, torch.tensor([3, 4]))
    with torch.no_grad():
        one, other = (layer(config, number=number)(hidden(), context(config, dropout=key)) for number in (1, 2))
        assert not torch.allclose(one, other)
        without = layer(config)(hidden(), context(config))
        torch.testing.assert_close(without, layer(tiny_config())(hidden(), context(config, dropout=key)))


def test_a_rank_drops_of_its_heads_what_one_rank_drops_of_them() -> None:
    """Two tensor-parallel ranks, without their processes: heads 0 and 1, and heads 2 and 3."""
    config = tiny_config(attention_dropout=0.5, position_embedding_type="none")
    shared = context(config, dropout=DropoutKey(7, torch.tensor([3, 4])))
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, LENGTH, heads, 8, generator=generator) for heads in (4, 2, 2))
    whole = layer(config).attend(q, k, v, shared)
    for rank in (0, 1):
        grid = dataclasses.replace(Grid.single(), tp=Axis("tp", 2, rank, None, (0, 1)))
        part = Attention(config, 1, grid, dtype=torch.float32, device="meta", recompute=False)
        heads, groups = slice(2 * rank, 2 * rank + 2), slice(rank, rank + 1)
        found = part.attend(q[:, :, heads], k[:, :, groups], v[:, :, groups], shared)
        torch.testing.assert_close(found, whole[:, :, heads])


def test_norms_of_queries_and_keys_wait_for_their_gathered_weights() -> None:
    """Their modules are passed over for the fused operation, and with them the hooks that would wait."""
    config = tiny_config(qk_layernorm=True)
    made, waited = layer(config), []
    for what, norm in (("query", made.query_norm), ("key", made.key_norm)):
        norm.weight.await_gather = lambda what=what: waited.append(what)
    made(hidden(), context(config))
    assert waited == ["query", "key"]


def test_parameters_have_the_names_and_initial_values_of_their_layer() -> None:
    config = tiny_config(num_layers=8, qk_layernorm=True, add_qkv_bias=True, init_method_std=0.5)
    pieces = {p.name: p for w in parameters_with_spec([layer(config, number=5)]) for p in spec_of(w).pieces}
    stem = "blocks.5.attention."
    assert {name: piece.global_shape for name, piece in pieces.items()} == {
        f"{stem}query.weight": (32, 32),
        f"{stem}key.weight": (16, 32),
        f"{stem}value.weight": (16, 32),
        f"{stem}query.bias": (32,),
        f"{stem}key.bias": (16,),
        f"{stem}value.bias": (16,),
        f"{stem}output.weight": (32, 32),
        f"{stem}query_norm.weight": (8,),
        f"{stem}key_norm.weight": (8,),
    }
    assert pieces[f"{stem}value.weight"].init.std == 0.5
    assert pieces[f"{stem}output.weight"].init.std == output_init(config).std == 0.5 / 4  # √(2 · 8 layers)
    assert output_init(dataclasses.replace(config, depth_scaled_init=False)).std == 0.5
