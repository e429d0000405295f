"""Collectives over one axis of the grid, alone in this file so that a backend's weak spots are met in one place.

gloo's own reduce-scatter takes longer than its all-reduce, and its all-gather longer than a broadcast from each rank
(benchmarks/collectives.py); on host memory the two are made of those. Every function is the identity on an axis of one
rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from steel_megatron.parallel.grid import Axis
from steel_megatron.parallel.processes import operations

T = TypeVar("T")

# torch 2.13 renamed both.
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class Pending(Generic[T]):
    """A collective or messages under way; :meth:`wait` returns the result and may be called more than once.

    ``sent``: tensors that have to stay until then.
    """

    def __init__(self, works: Sequence[dist.Work | None], finish: Callable[[], T], sent: object = None) -> None:
        self._works = works
        self._finish = finish
        self._sent = sent
        self._result: T | None = None
        self._operation = operations.current()  # the one just queued

    def wait(self) -> T:
        """The result; on a GPU the current stream waits, not the host."""
        if self._result is None:
            if self._works:
                operations.wait_begins(self._operation)
                for work in self._works:
                    if work is not None:
                        work.wait()
                operations.wait_ends()
            self._result = self._finish()
            self._works, self._sent = (), None
        return self._result


def all_reduce(x: Tensor, axis: Axis, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Pending[Tensor]:
    """Reduces ``x`` in place over the axis."""
    if axis.size == 1:
        return Pending((), lambda: x)
    operations.queued("all-reduce", axis.name, axis.ranks)
    return Pending([dist.all_reduce(x, op, group=axis.group, async_op=True)], lambda: x)


def gather_objects(value: T, axis: Axis) -> list[T]:
    """Every rank's value, on every rank of the axis; pickled, so for few and small ones."""
    values: list[Any] = [value] * axis.size
    if axis.size > 1:
        dist.all_gather_object(values, value, group=axis.group)
    return values


def any_rank(wish: bool, axis: Axis) -> bool:
    """Whether any rank of the axis wishes something; asked in host memory, so it waits for the ranks, not for GPUs."""
    if axis.size == 1:
        return wish
    return bool(all_reduce(torch.tensor(int(wish)), axis, dist.ReduceOp.MAX).wait().item())


def reduce_scatter_flat(flat: Tensor, axis: Axis) -> Pending[Tensor]:
    """Sums a contiguous 1-D tensor of ``size × n`` elements over the axis; rank r's n elements end up in place.

    The result views ``flat``; the other ranks' parts of it are left undefined.
    """
    parts = flat.chunk(axis.size)
    own = parts[axis.rank]
    if axis.size == 1:
        return Pending((), lambda: own)
    operations.queued("reduce-scatter", axis.name, axis.ranks)
    if _host(flat, axis):
        works = [dist.all_reduce(flat, group=axis.group, async_op=True)]
    else:
        works = [_reduce_scatter(own, flat, group=axis.group, async_op=True)]
    return Pending(works, lambda: own)


def all_gather_flat(flat: Tensor, axis: Axis) -> Pending[Tensor]:
    """Fills a contiguous 1-D tensor of ``size × n`` elements of which each rank brings its own n, in place."""
    if axis.size == 1:
        return Pending((), lambda: flat)
    parts = flat.chunk(axis.size)
    operations.queued("all-gather", axis.name, axis.ranks)
    if _host(flat, axis):
        works = [
            dist.broadcast(part, src=rank, group=axis.group, async_op=True)
            for part, rank in zip(parts, axis.ranks, strict=True)
        ]
    else:
        works = [_all_gather(flat, parts[axis.rank], group=axis.group, async_op=True)]
    return Pending(works, lambda: flat)


def all_gather(x: Tensor, axis: Axis, dim: int) -> Pending[Tensor]:
    """The ranks' tensors of equal shape side by side along ``dim``."""
    if axis.size == 1:
        return Pending((), lambda: x)
    dim %= x.dim()
    gathered = torch.empty((axis.size, *x.shape), dtype=x.dtype, device=x.device)
    shape = (*x.shape[:dim], axis.size * x.shape[dim], *x.shape[dim + 1 :])

    if _host(x, axis):
        gathered[axis.rank].copy_(x)
        pending = all_gather_flat(gathered.view(-1), axis)
    else:
        own = x.reshape(-1)
        work = _all_gather(gathered.view(-1), own, group=axis.group, async_op=True)
        pending = Pending([work], lambda: gathered, own)

    def finish() -> Tensor:
        pending.wait()
        return gathered.movedim(0, dim).reshape(shape)  # a view when dim is the first

    return Pending((), finish)


def reduce_scatter(x: Tensor, axis: Axis, dim: int) -> Pending[Tensor]:
    """This rank's slice along ``dim`` of the sum over the axis; ``x`` is left as it is."""
    if axis.size == 1:
        return Pending((), lambda: x)
    dim %= x.dim()
    own = split_evenly(x.shape[dim], axis)
    shape = (*x.shape[:dim], own, *x.shape[dim + 1 :])
    parts = x.unflatten(dim, (axis.size, own)).movedim(dim, 0)
    # The result has memory of its own: as a view it would keep all ranks' parts for as long as it is kept.
    if _host(x, axis):
        flat = torch.empty(x.numel(), dtype=x.dtype, device=x.device)
        flat.view(parts.shape).copy_(parts)
        pending = reduce_scatter_flat(flat, axis)
        return Pending((), lambda: pending.wait().clone().view(shape))
    flat = parts.reshape(-1)  # x itself when dim is the first
    result = torch.empty(shape, dtype=x.dtype, device=x.device)
    operations.queued("reduce-scatter", axis.name, axis.ranks)
    works = [_reduce_scatter(result.view(-1), flat, group=axis.group, async_op=True)]
    return Pending(works, lambda: result, flat)


# A rank's piece of the tokens, all dimensions of (…, S, H) but the last in one, lies together in memory: nothing is
# copied before or after a message. With several samples it is no slice of each; S/R is only how the piece is shaped.
def gather_tokens(x: Tensor, axis: Axis) -> Pending[Tensor]:
    """The ranks' pieces (…, S/R, H) of the tokens one after another: (…, S, H)."""
    if axis.size == 1:
        return Pending((), lambda: x)
    pending = all_gather(x.reshape(-1, x.shape[-1]), axis, 0)
    shape = (*x.shape[:-2], axis.size * x.shape[-2], x.shape[-1])
    return Pending((), lambda: pending.wait().view(shape))


def scatter_tokens(x: Tensor, axis: Axis) -> Pending[Tensor]:
    """This rank's piece (…, S/R, H) of the tokens of the sum (…, S, H) over the axis; ``x`` is left as it is."""
    if axis.size == 1:
        return Pending((), lambda: x)
    shape = (*x.shape[:-2], split_evenly(x.shape[-2], axis), x.shape[-1])
    pending = reduce_scatter(x.reshape(-1, x.shape[-1]), axis, 0)
    return Pending((), lambda: pending.wait().view(shape))


def own_tokens(x: Tensor, axis: Axis) -> Tensor:
    """This rank's piece (…, S/R, H) of the tokens of (…, S, H); a view of a contiguous one."""
    if axis.size == 1:
        return x
    shape = (*x.shape[:-2], split_evenly(x.shape[-2], axis), x.shape[-1])
    return own_slice(x.reshape(-1, x.shape[-1]), axis, 0).view(shape)


def own_slice(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """This rank's slice along ``dim``; a view."""
    if axis.size == 1:
        return x
    own = split_evenly(x.shape[dim], axis)
    return x.narrow(dim, axis.rank * own, own)


def split_evenly(length: int, axis: Axis) -> int:
    """Each rank's share of a dimension."""
    if length % axis.size:
        raise ValueError(f"a dimension of {length} does not divide over {axis.size} {axis.name} ranks")
    return length // axis.size


def _host(x: Tensor, axis: Axis) -> bool:
    return x.device.type == "cpu" or dist.get_backend(axis.group) == "gloo"
