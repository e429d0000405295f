"""Data parallel: every rank runs its own samples, gradients are summed, each rank updates its share (ZeRO-1).

Over D ranks that see different tokens (cp × dp of the grid; those that hold the same experts for an expert), with g_d
the gradient of rank d's tokens, in the gradient's type (fp32):

    backward     main_grad += dW of each micro-batch, locally
    reduce       G = Σ_d g_d per bucket: reduce-scatter, rank d keeps shard d; without sharding an all-reduce.
                 It starts as soon as the bucket's last gradient of the last micro-batch is there.
    step         the optimizer updates the rows of its shards
    gather       all-gather of the parameters' buckets, in the order of the next forward pass, which waits for a bucket
                 where it first needs it

Gradients are sums: the training loop divides by the count of tokens of the global batch once. Where the buckets lie is
planned in :mod:`steel_megatron.parallel.data.buckets`. With one rank there are no parameter buffers and no messages.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from steel_megatron.parallel import collectives
from steel_megatron.parallel.data.buckets import Bucket, Item, items_of, plan_buckets, shard_rows
from steel_megatron.parallel.data.replicas import sum_over_ends, sum_over_tensor_parallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import parameters_with_spec, spec_of


@dataclass(frozen=True)
class Shard:
    """The rows of a parameter that this rank updates, as views of the buffers.

    ``first_holder``: no rank before this one on the parameter's data axes updates the same rows.
    """

    parameter: nn.Parameter
    first_row: int
    param_rows: Tensor  # (rows, …) in the model's type
    grad_rows: Tensor  # (rows, …) in the gradient's type, reduced after finish_grads
    first_holder: bool


class DataParallel:
    """Owns the gradient buffer and, when sharded, the parameter buffers of some modules.

    Afterwards ``parameter.main_grad`` views the gradient buffer. Layers of this package add their gradients to it
    directly; other gradients are moved there as autograd produces them, so ``parameter.grad`` stays None.

    Args:
        modules: the model's chunks on this rank, in order of the forward pass; every parameter has a spec.
        grid: the rank grid.
        shard: each rank updates its shard of every bucket (ZeRO-1); else every rank updates everything.
        grad_dtype: type in which gradients add up and travel.
        bucket_size: elements per message.
        whole: kinds of parameters of which a shard has all rows or none, for rules that update whole matrices.
        overlap_grad_reduce: reduce a bucket while backward goes on; else all at the end.
        overlap_param_gather: gather while the next forward pass runs; else at once.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        grid: Grid,
        *,
        shard: bool,
        grad_dtype: torch.dtype = torch.float32,
        bucket_size: int = 25_000_000,
        whole: Collection[str] = (),
        overlap_grad_reduce: bool = True,
        overlap_param_gather: bool = True,
    ) -> None:
        modules = list(modules)
        self.grid = grid
        self.parameters = [p for p in parameters_with_spec(modules) if p.requires_grad]
        numbers = {id(parameter): number for number, parameter in enumerate(self.parameters)}
        self._chunks = [{numbers[id(p)] for p in module.parameters() if p.requires_grad} for module in modules]
        self.overlap_grad_reduce = overlap_grad_reduce
        self.overlap_param_gather = overlap_param_gather
        # Called after the reduction over data axes, on the shards, in order.
        self.after_reduction: list[Callable[[], None]] = [
            lambda: sum_over_tensor_parallel(self.shards, grid),
            lambda: sum_over_ends(self.shards, grid),
        ]
        items = items_of(self.parameters, lambda spec: grid.over(*spec.data_axes).size if shard else 1, whole)
        self.buckets = plan_buckets(items, bucket_size)
        self._axes = [grid.over(*spec_of(self.parameters[b.items[0]]).data_axes) for b in self.buckets]
        self.sharded = any(bucket.shards > 1 for bucket in self.buckets)
        self.grads = torch.zeros(sum(b.numel for b in self.buckets), dtype=grad_dtype, device=grid.device)
        self._bucket_grads = list(self.grads.split([bucket.numel for bucket in self.buckets]))
        self._bucket_params: dict[int, Tensor] = {}  # of the buckets that are sharded
        self.shards: list[Shard] = []
        for number, bucket in enumerate(self.buckets):
            self._take_over(number, bucket, items)
        self._alone = all(axis.size == 1 for axis in self._axes)
        self._missing: list[set[int]] = []  # per bucket: parameters whose last gradient is still to come
        self._reductions: list[collectives.Pending] = []
        self._gathers: dict[int, collectives.Pending] = {}
        self._armed: set[int] = set()  # parameters whose next gradient is their last of this step
        self._hook_backward()
        if self.sharded:
            self._hook_forward(modules)

    def zero_grads(self) -> None:
        """Before the first micro-batch of a step."""
        self.grads.zero_()

    def last_micro_batch(self, chunk: int | None = None) -> None:
        """The next backward pass is the last of the step: buckets are reduced as they fill.

        Args:
            chunk: place of the module whose next backward pass that is; all modules' when None.
        """
        if not self._armed:
            self._missing = [set(bucket.items) for bucket in self.buckets]
        self._armed |= self._chunks[chunk] if chunk is not None else set(range(len(self.parameters)))

    def finish_grads(self) -> None:
        """After the last backward pass: every shard's ``grad_rows`` hold the sum over all ranks' tokens."""
        self.wait_parameters()  # of what no forward pass asked for; the optimizer is about to write
        for bucket in range(len(self._reductions), len(self.buckets)):
            self._reduce(bucket)
        for reduction in self._reductions:
            reduction.wait()
        self._reductions.clear()
        self._armed.clear()
        for step in self.after_reduction:
            step()

    def gather_parameters(self) -> None:
        """After the optimizer step: brings the other ranks' rows into this rank's parameters."""
        for bucket in reversed(self._bucket_params):  # the order of the forward pass
            self._gathers[bucket] = collectives.all_gather_flat(self._bucket_params[bucket], self._axes[bucket])
        if not self.overlap_param_gather:
            self.wait_parameters()

    def wait_parameters(self) -> None:
        """Waits until all parameters are whole; before anything but the model's layers reads them."""
        for bucket in list(self._gathers):
            self._wait_gather(bucket)

    def _take_over(self, place_in_order: int, bucket: Bucket, items: list[Item]) -> None:
        grads, axis = self._bucket_grads[place_in_order], self._axes[place_in_order]
        sharded = bucket.shards > 1
        params: Tensor | None = None
        if sharded:
            params = torch.zeros(bucket.numel, dtype=self.parameters[bucket.items[0]].dtype, device=self.grid.device)
            self._bucket_params[place_in_order] = params
        first_holder = sharded or axis.rank == 0
        for place, (number, offset) in enumerate(zip(bucket.items, bucket.offsets, strict=True)):
            parameter = self.parameters[number]
            whole = slice(offset, offset + parameter.numel())
            parameter.main_grad = grads[whole].view(parameter.shape)  # type: ignore[attr-defined]  # read by the layers
            if params is not None:
                params[whole].copy_(parameter.detach().reshape(-1))
                parameter.data = params[whole].view(parameter.shape)
            first, count = shard_rows(bucket, place, items[number], axis.rank if sharded else 0)
            if count:
                rows = slice(first, first + count)
                main_grad: Tensor = parameter.main_grad  # type: ignore[attr-defined]  # set above
                self.shards.append(Shard(parameter, first, parameter.detach()[rows], main_grad[rows], first_holder))

    def _hook_backward(self) -> None:
        # The graph's leaf runs once per backward pass, after the last use of the parameter, even when the layers kept
        # its gradient to themselves. Autograd holds the nodes weakly, so they are kept here; they hold this object
        # weakly, so that both go together.
        self._nodes = []
        this = weakref.proxy(self)
        for number, bucket in self._numbered():
            node = get_gradient_edge(self.parameters[number]).node
            node.register_hook(functools.partial(DataParallel._on_gradient, this, number, bucket))
            self._nodes.append(node)

    def _on_gradient(self, number: int, bucket: int, *_: Any) -> None:
        parameter = self.parameters[number]
        if bucket in self._gathers:
            raise RuntimeError(
                f"{spec_of(parameter).pieces[0].name} was used before its values were gathered: "
                "its module must be called, or DataParallel.wait_parameters()"
            )
        if parameter.grad is not None:
            parameter.main_grad.add_(parameter.grad)  # type: ignore[attr-defined]  # set in _take_over
            parameter.grad = None
        if number not in self._armed or self._alone:
            return
        if bucket < len(self._reductions):
            raise RuntimeError(f"a gradient of {spec_of(parameter).pieces[0].name} came after its bucket was reduced")
        self._missing[bucket].discard(number)
        if self.overlap_grad_reduce:
            # All ranks must send the buckets in one order, whatever order their gradients come in.
            while len(self._reductions) < len(self.buckets) and not self._missing[len(self._reductions)]:
                self._reduce(len(self._reductions))

    def _reduce(self, bucket: int) -> None:
        grads = self._bucket_grads[bucket]
        reduce = collectives.reduce_scatter_flat if bucket in self._bucket_params else collectives.all_reduce
        self._reductions.append(reduce(grads, self._axes[bucket]))

    def _hook_forward(self, modules: Iterable[nn.Module]) -> None:
        bucket_of = {id(self.parameters[number]): bucket for number, bucket in self._numbered()}
        for number, bucket in self._numbered():
            wait = functools.partial(self._wait_gather, bucket)
            self.parameters[number].await_gather = wait  # type: ignore[attr-defined]  # see await_parameter
        for module in {id(m): m for root in modules for m in root.modules()}.values():
            owned = [id(p) for p in module.parameters(recurse=False)]
            needed = sorted({bucket_of[i] for i in owned if i in bucket_of})
            if needed:
                module.register_forward_pre_hook(functools.partial(self._before_forward, needed))

    def _before_forward(self, buckets: list[int], *_: Any) -> None:
        for bucket in buckets:
            self._wait_gather(bucket)

    def _wait_gather(self, bucket: int) -> None:
        pending = self._gathers.pop(bucket, None)
        if pending is not None:
            pending.wait()

    def _numbered(self) -> Iterator[tuple[int, int]]:
        """(parameter, bucket) in order of the buckets."""
        for number, bucket in enumerate(self.buckets):
            for item in bucket.items:
                yield item, number
