"""Collectives and the borders of tensor-parallel regions, in real processes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.processes import run_processes
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel import collectives
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.tensor import regions


def collect(dtype: torch.dtype) -> None:
    """Every collective against its definition, over a group that is not the whole world."""
    grid = Grid.create(ParallelConfig(tensor_model_parallel_size=2))
    axis = grid.dp
    everyone = [torch.arange(24, dtype=dtype).view(2, 4, 3) + 100 * rank for rank in axis.ranks]
    own = everyone[axis.rank]
    total = sum(everyone[1:], everyone[0])
    for dim in (0, 1, -2):
        before = own.clone()
        assert torch.equal(collectives.all_gather(own, axis, dim).wait(), torch.cat(everyone, dim))
        expected = total.chunk(axis.size, dim)[axis.rank]
        assert torch.equal(collectives.reduce_scatter(own, axis, dim).wait(), expected)
        assert torch.equal(own, before), "the argument is left as it is"
        strided = own.transpose(0, 2)
        assert torch.equal(
            collectives.all_gather(strided, axis, 1).wait(), torch.cat([x.transpose(0, 2) for x in everyone], 1)
        )
    assert torch.equal(collectives.all_reduce(own.clone(), axis).wait(), total)
    flat = own.reshape(-1).clone()
    assert torch.equal(collectives.reduce_scatter_flat(flat, axis).wait(), total.view(-1).chunk(axis.size)[axis.rank])
    flat = torch.where(torch.arange(24) // (24 // axis.size) == axis.rank, total.view(-1), torch.nan)
    assert torch.equal(collectives.all_gather_flat(flat, axis).wait(), total.view(-1))


def borders() -> None:
    """Each border's backward is the transpose of its forward.

    With y = forward(x) per rank, Σ_r <g_r, y_r> seen as a function of all ranks' x has backward's result as its
    gradient; borders that several ranks' consumers share follow the convention of their docstring.
    """
    grid = Grid.create(ParallelConfig(tensor_model_parallel_size=2, sequence_parallel=True))
    axis = grid.tp
    rows = {
        # border: (forward of all ranks' x, gradient of all ranks' g)
        regions.enter: (lambda xs, r: xs[r], lambda gs, r: sum(gs[1:], gs[0])),
        regions.leave: (lambda xs, r: sum(xs[1:], xs[0]), lambda gs, r: gs[r]),
        regions.enter_gather: (lambda xs, r: one_after_another(xs), lambda gs, r: piece(sum(gs[1:], gs[0]), r)),
        regions.leave_scatter: (lambda xs, r: piece(sum(xs[1:], xs[0]), r), lambda gs, r: one_after_another(gs)),
    }
    for border, (forward, backward) in rows.items():
        xs = [numbers(3, 4, 5, seed=rank) for rank in range(2)]
        x = xs[axis.rank].clone().requires_grad_()
        y = border(x, axis)
        assert torch.equal(y.detach(), forward(xs, axis.rank)), border.__name__
        gs = [numbers(*y.shape, seed=10 + rank) for rank in range(2)]
        given = gs[axis.rank].clone()
        y.backward(given)
        assert torch.equal(given, gs[axis.rank]), "the incoming gradient is not overwritten"
        assert torch.equal(x.grad, backward(gs, axis.rank)), border.__name__
    assert collectives.gather_objects(axis.rank, axis) == [0, 1]
    assert regions.enter_region(xs[0], grid).shape == (3, 8, 5)
    assert regions.leave_region(xs[0], grid).shape == (3, 2, 5)
    for rank, x in enumerate(xs):  # of three samples in two pieces, the second is in both
        assert torch.equal(collectives.own_tokens(one_after_another(xs), Axis("tp", 2, rank)), x)
    with pytest.raises(ValueError, match="a dimension of 3 does not divide over 2 tp ranks"):
        regions.leave_region(numbers(2, 3, 5, seed=1), grid)


def one_after_another(pieces: list[Tensor]) -> Tensor:
    """Two ranks' tokens (B, S/R, H) as (B, S, H)."""
    batch, length, channels = pieces[0].shape
    return torch.cat([x.flatten(0, 1) for x in pieces]).view(batch, 2 * length, channels)


def piece(whole: Tensor, rank: int) -> Tensor:
    """A rank's tokens of two."""
    batch, length, channels = whole.shape
    return whole.flatten(0, 1).chunk(2)[rank].view(batch, length // 2, channels)


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randint(-8, 8, shape, generator=torch.Generator().manual_seed(seed)).float()


def everything() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        collect(dtype)
    borders()


@pytest.mark.parametrize("world_size", [4])
def test_collectives_and_borders(world_size):
    run_processes(everything, world_size)


def test_an_axis_of_one_rank_is_the_identity():
    x, axis = torch.randn(3, 4), Axis("tp")
    for result in (
        collectives.all_reduce(x, axis).wait(),
        collectives.all_gather(x, axis, 0).wait(),
        collectives.reduce_scatter(x, axis, 0).wait(),
        collectives.own_slice(x, axis, 0),
        regions.enter_region(x, Grid.single()),
        regions.leave_region(x, Grid.single()),
    ):
        assert result is x
    assert collectives.gather_objects("x", axis) == ["x"]


def test_what_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="a dimension of 5 does not divide over 2 tp ranks"):
        collectives.own_slice(torch.zeros(5), Axis("tp", 2), 0)
