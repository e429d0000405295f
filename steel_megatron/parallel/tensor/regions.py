"""The borders of tensor-parallel regions as autograd functions.

A tensor-parallel region begins where an activation that all R tp ranks share meets weights of which each rank holds a
part, and ends where the ranks' partial results are summed. Forward and backward communicate in dual ways:

    function          forward                        backward                       saved
    enter             identity                       all-reduce                     nothing
    leave             all-reduce                     identity                       nothing
    enter_gather      all-gather of the tokens       reduce-scatter                 nothing
    leave_scatter     reduce-scatter                 all-gather                     nothing

With x the activation and L the loss: entering copies x to R ranks, each of which contributes to dL/dx, so backward
sums; leaving sums R partial y, each of which has dL/dy_r = dL/dy, so backward copies. all-gather and reduce-scatter
are the same two over the tokens, of which each rank keeps an R-th outside the region (sequence parallel): of the B·S
tokens of a micro-batch, sample after sample, those from r B S / R on. Its piece is shaped (B, S/R, H), but holds whole
samples and parts of samples; :func:`first_token` says where it begins.

Shapes: … any leading dimensions, S sequence (the last dimension but one), H hidden, R tp ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from steel_megatron.parallel import collectives
from steel_megatron.parallel.grid import Axis, Grid

Way = Callable[[Tensor, Axis], Tensor]


def first_token(x: Tensor, grid: Grid) -> int:
    """Which token of the micro-batch is the first of an activation (…, S/R, H) outside tensor-parallel regions."""
    return grid.tp.rank * math.prod(x.shape[:-1]) if grid.sequence_parallel else 0


def whole_length(x: Tensor, grid: Grid) -> int:
    """S: positions of a sample whose activations outside the regions are shaped (…, S/R, H)."""
    return x.shape[-2] * (grid.tp.size if grid.sequence_parallel else 1)


def enter_region(x: Tensor, grid: Grid) -> Tensor:
    """(…, S/R, H) under sequence parallel, else (…, S, H) → (…, S, H), the same on every tp rank."""
    if grid.tp.size == 1:
        return x
    return enter_gather(x, grid.tp) if grid.sequence_parallel else enter(x, grid.tp)


def leave_region(y: Tensor, grid: Grid) -> Tensor:
    """Partial (…, S, H) → its sum over tp: (…, S/R, H) under sequence parallel, else (…, S, H)."""
    if grid.tp.size == 1:
        return y
    return leave_scatter(y, grid.tp) if grid.sequence_parallel else leave(y, grid.tp)


def enter(x: Tensor, axis: Axis) -> Tensor:
    """Forward identity, backward all-reduce."""
    return _Border.apply(x, axis, _same, _summed)


def leave(y: Tensor, axis: Axis) -> Tensor:
    """Forward all-reduce, backward identity."""
    return _Border.apply(y, axis, _summed, _same)


def enter_gather(x: Tensor, axis: Axis) -> Tensor:
    """Forward all-gather of the tokens, backward reduce-scatter."""
    return _Border.apply(x, axis, _gathered, _scattered)


def leave_scatter(y: Tensor, axis: Axis) -> Tensor:
    """Forward reduce-scatter of the tokens, backward all-gather."""
    return _Border.apply(y, axis, _scattered, _gathered)


class _Border(torch.autograd.Function):
    """One way forward, its dual backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, there: Way, back: Way) -> Tensor:
        ctx.axis, ctx.back = axis, back
        return there(x, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.back(grads[0], ctx.axis), None, None, None


def _same(x: Tensor, axis: Axis) -> Tensor:
    return x.view_as(x)


def _summed(x: Tensor, axis: Axis) -> Tensor:
    # A copy: an incoming gradient may be shared with another branch of the graph.
    return collectives.all_reduce(x.clone(memory_format=torch.contiguous_format), axis).wait()


def _gathered(x: Tensor, axis: Axis) -> Tensor:
    return collectives.gather_tokens(x, axis).wait()


def _scattered(x: Tensor, axis: Axis) -> Tensor:
    return collectives.scatter_tokens(x, axis).wait()
