"""The borders of tensor-parallel regions as autograd functions.

A tensor-parallel region begins where an activation that all R tp ranks share meets weights of which each rank holds a
part, and ends where the ranks' partial results are summed. Forward and backward communicate in dual ways:

    function          forward                        backward                       saved
    enter             identity                       all-reduce                     nothing
    leave             all-reduce                     identity                       nothing
    enter_gather      all-gather along the sequence  reduce-scatter                 nothing
    leave_scatter     reduce-scatter                 all-gather                     nothing
    split             own slice                      all-gather                     nothing
    join              all-gather                     own slice                      nothing

With x the activation and L the loss: entering copies x to R ranks, each of which contributes to dL/dx, so backward
sums; leaving sums R partial y, each of which has dL/dy_r = dL/dy, so backward copies. all-gather and reduce-scatter
are the same two along the sequence, where each rank keeps S/R positions outside the region (sequence parallel).

Shapes: … any leading dimensions, S sequence (the last dimension but one), H hidden, R tp ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steel_megatron.parallel import collectives
from steel_megatron.parallel.mesh import Axis, Mesh

SEQUENCE = -2  # the dimension that sequence parallel slices, in (B, S, H) and in (S, H)


def enter_region(x: Tensor, mesh: Mesh) -> Tensor:
    """(…, S/R, H) under sequence parallel, else (…, S, H) → (…, S, H), the same on every tp rank."""
    if mesh.tp.size == 1:
        return x
    return enter_gather(x, mesh.tp) if mesh.sequence_parallel else enter(x, mesh.tp)


def leave_region(y: Tensor, mesh: Mesh) -> Tensor:
    """Partial (…, S, H) → its sum over tp: (…, S/R, H) under sequence parallel, else (…, S, H)."""
    if mesh.tp.size == 1:
        return y
    return leave_scatter(y, mesh.tp) if mesh.sequence_parallel else leave(y, mesh.tp)


def enter(x: Tensor, axis: Axis) -> Tensor:
    """Forward identity, backward all-reduce."""
    return _Enter.apply(x, axis)


def leave(y: Tensor, axis: Axis) -> Tensor:
    """Forward all-reduce, backward identity."""
    return _Leave.apply(y, axis)


def enter_gather(x: Tensor, axis: Axis) -> Tensor:
    """Forward all-gather along the sequence, backward reduce-scatter."""
    return _EnterGather.apply(x, axis)


def leave_scatter(y: Tensor, axis: Axis) -> Tensor:
    """Forward reduce-scatter along the sequence, backward all-gather."""
    return _LeaveScatter.apply(y, axis)


def split(x: Tensor, axis: Axis, dim: int = SEQUENCE) -> Tensor:
    """Forward own slice, backward all-gather: of a tensor that every rank holds whole and uses its slice of."""
    return _Split.apply(x, axis, dim)


def join(x: Tensor, axis: Axis, dim: int = SEQUENCE) -> Tensor:
    """Forward all-gather, backward own slice: for consumers that compute the same thing on every rank."""
    return _Join.apply(x, axis, dim)


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # A copy: the incoming gradient may be shared with another branch of the graph.
        return collectives.all_reduce(grads[0].clone(memory_format=torch.contiguous_format), ctx.axis).wait(), None


class _Leave(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, axis: Axis) -> Tensor:
        return collectives.all_reduce(y.clone(memory_format=torch.contiguous_format), axis).wait()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _EnterGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return collectives.all_gather(x, axis, SEQUENCE).wait()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return collectives.reduce_scatter(grads[0], ctx.axis, SEQUENCE).wait(), None


class _LeaveScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return collectives.reduce_scatter(y, axis, SEQUENCE).wait()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return collectives.all_gather(grads[0], ctx.axis, SEQUENCE).wait(), None


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return collectives.own_slice(x, axis, dim).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return collectives.all_gather(grads[0], ctx.axis, ctx.dim).wait(), None, None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return collectives.all_gather(x, axis, dim).wait()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return collectives.own_slice(grads[0], ctx.axis, ctx.dim).contiguous(), None, None
