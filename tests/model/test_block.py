"""A block is two branches on the residual stream, and running blocks adds each branch once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.tiny_gpt import tiny_config, tiny_gpt
from steel_megatron.config import ModelConfig
from steel_megatron.model.attention.layer import Attention
from steel_megatron.model.block import Block, joined, run_blocks, through_blocks, use_pieces
from steel_megatron.model.context import Context
from steel_megatron.model.ffn.mlp import MLP
from steel_megatron.model.norm import Norm
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops.dropout import ATTENTION_OUTPUT, MLP_OUTPUT, DropoutKey, dropout
from steel_megatron.parallel.grid import Axis, Grid

RATE = 0.4
KEY = DropoutKey(7, torch.tensor([3, 14]))


def block(config: ModelConfig, layer: int = 1, recompute: Recompute = Recompute(), grid: Grid | None = None) -> Block:  # noqa: B008 - frozen
    made = Block(config, layer, grid or Grid.single(), dtype=torch.float32, device="cpu", recompute=recompute)
    with torch.no_grad():
        for at, parameter in enumerate(made.parameters()):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(at)))
    return made


def hidden(seed: int = 5) -> Tensor:
    return torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", [{}, {"normalization": "LayerNorm", "add_bias_linear": True, "activation": "gelu"}])
def test_two_branches_each_normed_before_dropped_and_added(options: dict[str, Any]) -> None:
    config = tiny_config(num_layers=4, hidden_dropout=RATE, position_embedding_type="none", **options)
    made, shared = block(config, layer=3), Context(dropout=KEY)
    with torch.no_grad():
        x_BSH, branch_BSH = hidden(1), hidden(2)
        found = joined(*made(x_BSH, branch_BSH, shared))
        x = x_BSH + branch_BSH
        x = x + dropout(made.attention(made.attention_norm(x)[0], shared), RATE, KEY, 3, ATTENTION_OUTPUT)
        x = x + dropout(made.mlp(made.mlp_norm(x)[0]), RATE, KEY, 3, MLP_OUTPUT)
        torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)
        same = joined(*made(x_BSH + branch_BSH, None, shared))
        torch.testing.assert_close(found, same, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("modules", [("layernorm",), ("core_attn", "layernorm", "mlp_act")])
def test_what_is_computed_again_changes_no_bit_of_a_gradient(modules: tuple[str, ...]) -> None:
    config = tiny_config(hidden_dropout=RATE, position_embedding_type="none")
    found = []
    for recompute in (Recompute(), Recompute("selective", modules=modules)):
        made, x, branch = block(config, recompute=recompute), hidden(1).requires_grad_(), hidden(2).requires_grad_()
        y = joined(*made(x, branch, Context(dropout=KEY)))
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, branch, *made.parameters()])])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_its_number_in_the_whole_model_says_its_kind_and_its_names() -> None:
    config = tiny_config(num_layers=6, layer_types=("full_attention", "sliding_attention"), window_size=3)
    assert [block(config, layer).attention.window for layer in (2, 5)] == [None, 3]
    names = {piece.name for parameter in block(config, 5).parameters() for piece in parameter.spec.pieces}
    assert all(name.startswith("blocks.5.") for name in names)
    assert len(names) == 9


def test_a_slice_of_the_sequence_is_dropped_as_in_the_whole() -> None:
    """Under sequence parallel a rank holds one run of the micro-batch's tokens: here the second half, sample 2."""
    config = tiny_config(hidden_dropout=RATE)
    whole = block(config)._drop(hidden(), Context(dropout=KEY), MLP_OUTPUT)
    for rank in (0, 1):
        tp = Axis("tp", 2, rank, None, (0, 1))
        made = block(config, grid=dataclasses.replace(Grid.single(), tp=tp, sequence_parallel=True))
        own = hidden().flatten(0, 1).chunk(2)[rank].view(2, 3, 32)
        found = made._drop(own, Context(dropout=KEY), MLP_OUTPUT)
        assert torch.equal(found.flatten(0, 1), whole.flatten(0, 1).chunk(2)[rank])


def test_blocks_run_one_after_the_other_in_one_region() -> None:
    entered: list[str] = []

    @contextmanager
    def region() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    class Plain(nn.Module):
        """Adds what was left, and leaves its own number to be added."""

        def __init__(self, number: float) -> None:
            super().__init__()
            self.number = number

        def forward(self, x: Tensor, branch: Tensor | None, context: Context) -> tuple[Tensor, Tensor]:
            assert entered == ["in"]
            return joined(x, branch) * 2, torch.full_like(x, self.number)

    blocks, x = [Plain(3.0), Plain(5.0)], torch.ones(1, 1, 2)
    stream, branch = run_blocks(blocks, x, Context(region=region))
    assert (stream[0, 0, 0].item(), branch[0, 0, 0].item()) == ((1 * 2 + 3) * 2, 5)
    assert entered == ["in", "out"]
    entered.clear()
    assert through_blocks(blocks, x, Context(region=region))[0, 0, 0].item() == 15


def test_no_blocks_leave_the_stream_alone() -> None:
    x = hidden()
    assert run_blocks([], x, Context())[1] is None
    assert run_blocks([], x, Context())[0] is x
    assert through_blocks([], x, Context()) is x


def test_pieces_reach_every_module_that_has_some_and_no_other_block() -> None:
    model = tiny_gpt(tiny_config(qk_layernorm=True))
    marker: Any = object()
    use_pieces(model.blocks[:1], marker)
    having = [m for m in model.modules() if isinstance(m, (Norm, Attention, MLP))]
    given = [m for m in having if m.pieces is marker]
    assert len(given) == 6  # two norms, attention and its two norms, MLP
    assert {id(m) for m in given} <= {id(m) for m in model.blocks[0].modules()}
    assert all(m.pieces is None for m in having if m not in given)
