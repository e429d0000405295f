"""Borders of tensor-parallel regions on one rank: nothing is communicated, and no gradient changes."""

from __future__ import annotations

import torch

from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.regions import enter_region, first_token, leave_region, whole_length


def test_one_rank_has_the_whole_sequence() -> None:
    x = torch.zeros(2, 5, 4)
    assert first_token(x, Grid.single()) == 0
    assert whole_length(x, Grid.single()) == 5


def test_values_and_gradients_pass_through() -> None:
    x = torch.randn(2, 5, 4, requires_grad=True)
    y = leave_region(enter_region(x, Grid.single()) * 3, Grid.single())
    assert torch.equal(y, x * 3)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, torch.full_like(x, 3))
