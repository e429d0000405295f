"""The norm of the whole gradient, each element counted once on any layout, and the search for what is not finite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from steel_megatron.config import SteelError
from steel_megatron.ops.backends import serves
from steel_megatron.ops.native.optimizer import sum_of_squares
from steel_megatron.parallel.collectives import all_reduce, gather_objects
from steel_megatron.parallel.data.data_parallel import Shard
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import row_slices, spec_of


class NonFiniteGradientError(SteelError):
    """Gradients are infinite or not numbers; no weight has been touched."""


def counted_gradients(shards: Sequence[Shard], grid: Grid) -> list[Tensor]:
    """The views of this rank's reduced gradients that it counts towards the norm.

    Over all ranks they cover every element of every layout-independent tensor once: of ranks that update the same
    rows (without a sharded optimizer) the first counts, of tp ranks with the same block one, of the two ends of a
    pipeline that share a tied tensor the first.
    """
    counted = []
    for shard in shards:
        if not shard.first_holder or (spec_of(shard.parameter).tied is not None and grid.pp.rank != 0):
            continue
        pieces = spec_of(shard.parameter).pieces
        if all(piece.counts_on(grid.tp.rank) for piece in pieces):
            counted.append(shard.grad_rows)  # one kernel for all pieces
            continue
        for piece, block in row_slices(shard.parameter, shard.first_row, shard.grad_rows):
            if piece.counts_on(grid.tp.rank):
                counted.append(block.tensor)
    return counted


def gradient_norm(counted: Sequence[Tensor], grid: Grid) -> Tensor:
    """fp64 scalar on the device: the 2-norm over all ranks' counted gradients, the same on every rank."""
    if not counted:
        total = torch.zeros((), dtype=torch.float64, device=grid.device)
    elif serves("gradient_norm", *counted) and counted[0].dtype == torch.float32:
        total = sum_of_squares(list(counted))
    elif counted[0].dtype == torch.float32:
        total = torch.nn.utils.get_total_norm(counted).double().square()
    else:
        total = sum(torch.linalg.vector_norm(grad, dtype=torch.float32).double().square() for grad in counted)
    return all_reduce(total, grid.world).wait().sqrt()


def non_finite_gradients(shards: Sequence[Shard], grid: Grid) -> list[str]:
    """The first parameters, of all ranks, whose reduced gradient is not finite; a collective call."""
    own = []
    for shard in shards:
        if not torch.isfinite(shard.grad_rows).all():
            for piece, block in row_slices(shard.parameter, shard.first_row, shard.grad_rows):
                bad = int((~torch.isfinite(block.tensor)).sum())
                if bad:
                    own.append(f"{piece.name} ({bad} of {block.tensor.numel()} elements on rank {grid.world.rank})")
    return [name for rank in gather_objects(own[:3], grid.world) for name in rank][:6]


def non_finite_error(shards: Sequence[Shard], grid: Grid, step: int) -> NonFiniteGradientError:
    """Names the parameters at fault on all ranks; a collective call, made only when the norm is not finite."""
    found = non_finite_gradients(shards, grid)
    return NonFiniteGradientError(
        f"step {step}: the gradient norm is not finite; first at {', '.join(found) or 'the sum of the squares'}",
        rule="gradients are finite before the optimizer touches a weight",
        fix="leave that step's samples out (--skip-samples), or go back to an earlier checkpoint with a lower --lr",
    )
