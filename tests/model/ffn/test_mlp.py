"""The dense MLP, against the formula."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import silu

from helpers.tiny_gpt import tiny_config
from steel_megatron.model.ffn.mlp import MLP
from steel_megatron.parallel.grid import Grid


def mlp(recompute: bool, **options) -> MLP:
    made = MLP(tiny_config(**options), 0, Grid.single(), dtype=torch.float32, device="cpu", recompute=recompute)
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters()):
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return made


@pytest.mark.parametrize("recompute", [False, True])
def test_gate_times_up_and_down_again(recompute: bool) -> None:
    made = mlp(recompute, activation="swiglu", add_bias_linear=False)
    x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(9)).requires_grad_()
    gate, up = made.up.weight.chunk(2)
    expected = (silu(x @ gate.t()) * (x @ up.t())) @ made.down.weight.t()
    found = made(x)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.square().sum(), [x, *made.parameters()], retain_graph=True)
    given = torch.autograd.grad(found.square().sum(), [x, *made.parameters()])
    for ours, theirs in zip(given, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_biases_are_there_where_asked_for() -> None:
    assert len(list(mlp(False, add_bias_linear=True).parameters())) == 4
    assert len(list(mlp(False, add_bias_linear=False).parameters())) == 2
