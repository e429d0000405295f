"""Linear layers of the blocks with 8-bit matmuls, in forward, dgrad and wgrad.

A tensor that tensor parallel splits is scaled by the largest magnitude of all its parts, so it is rounded to the same
numbers on every layout. Under sequence parallel activations are rounded before they are gathered and travel in 8 bits.

Shapes: … leading dimensions (B, S), I in features, O out features of this rank, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from steel_megatron.ops.scaled_matmul import (
    E4M3,
    E5M2,
    Scaled,
    add_product_,
    largest_magnitude,
    multiply,
    quantise,
    quantise_both,
)
from steel_megatron.parallel import collectives
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.tensor.kinds import Linears, linear_layers
from steel_megatron.parallel.tensor.layers import ColumnParallelLinear
from steel_megatron.parallel.tensor.products import flatten_tokens
from steel_megatron.parallel.tensor.regions import leave_region
from steel_megatron.parallel.tensor.weight_grad import await_parameter, bias_gradient, main_grad_of

GRADIENTS = {"hybrid": E5M2, "e4m3": E4M3}  # by --fp8-format; inputs and weights are E4M3


class Fp8Linears(Linears):
    """Layers that multiply in 8 bits. Within :meth:`step` each weight is rounded once for all micro-batches."""

    def __init__(self, fp8_format: str) -> None:
        self.gradient = GRADIENTS[fp8_format]
        self._kept: dict[int, RoundedWeight] | None = None

    def install(self, modules: Iterable[nn.Module]) -> None:
        for layer in linear_layers(modules):
            layer.multiply = self.column if isinstance(layer, ColumnParallelLinear) else self.row

    @contextmanager
    def step(self) -> Iterator[None]:
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def column(self, x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
        """:func:`~steel_megatron.parallel.tensor.products.column_linear` in 8 bits.

        With q the rounding to 8 bits and amax over the R ranks where a rank holds a part of the tensor:

            forward   X = q(x)                        (T, I), or, sequence parallel, all-gather of q(x) (T/R, I)
                      y_r = X q(W_r)ᵀ + b_r           (T, O), in the type of x
            dgrad     dx = Σ_r q(dy_r) q(W_r)         (T, I), in the type of x, summed as it is without 8 bits
            wgrad     dW_r = q(dy_r)ᵀ X               (O, I), in fp32, added to the gradient buffer

        Saved: q(x), half of x; as (I, T) for wgrad's matmul, and as it came in where it is gathered again.
        """
        return _Fp8Linear.apply(x, weight, bias, _Product(self, grid, column=True))

    def row(self, x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
        """:func:`~.products.row_linear` in 8 bits, x_r (T, I) and W_r (O, I) of this rank's I input features:

        forward   y = Σ_r q(x_r) q(W_r)ᵀ + b      (T, O), or, sequence parallel, this rank's (T/R, O) of it
        dgrad     dx_r = q(dy) q(W_r)             (T, I); dy (T, O) is whole on every rank
        wgrad     dW_r = q(dy)ᵀ q(x_r)            (O, I), in fp32, added to the gradient buffer
        """
        if grid.tp.size == 1:
            return _Fp8Linear.apply(x, weight, bias, _Product(self, grid, column=False))
        y = leave_region(_Fp8Linear.apply(x, weight, None, _Product(self, grid, column=False)), grid)
        return y if bias is None else y + bias

    def rounded(self, weight: Tensor, axis: Axis, for_backward: bool) -> RoundedWeight:
        """The weight in 8 bits; from the first use in this step, if there is one."""
        kept = None if self._kept is None else self._kept.get(id(weight))
        if kept is None:
            amax = shared_magnitude(weight, axis)
            if for_backward:
                kept = RoundedWeight(*quantise_both(weight, E4M3, amax))
            else:
                kept = RoundedWeight(quantise(weight, E4M3, amax))
            if self._kept is not None:
                self._kept[id(weight)] = kept
        return kept


class RoundedWeight:
    """A weight in 8 bits as the forward pass reads it, (O, I), and as the backward pass does, (I, O)."""

    def __init__(self, forward: Scaled, backward: Scaled | None = None) -> None:
        self.forward = forward
        self._backward = backward

    @property
    def backward(self) -> Scaled:
        if self._backward is None:
            self._backward = self.forward.transposed()
        return self._backward


def shared_magnitude(x_TC: Tensor, axis: Axis | None) -> Tensor:
    """Largest magnitude of a tensor; of all ranks' parts if it is split over an axis."""
    amax = largest_magnitude(x_TC)
    return amax if axis is None else collectives.all_reduce(amax, axis, dist.ReduceOp.MAX).wait()


@dataclass(frozen=True)
class _Product:
    linears: Fp8Linears
    grid: Grid
    column: bool

    @property
    def gathers(self) -> bool:
        """Whether x is a slice of the sequence that the layer needs whole."""
        return self.column and self.grid.sequence_parallel


class _Fp8Linear(torch.autograd.Function):
    """The product of one rank. x is (…, S, I), and (…, S/R, I) where it is gathered; T counts the whole input's tokens.

    A name that ends in 8 is in 8 bits with one scale; the matmuls want both factors with the summed dimension last.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, product: _Product) -> Tensor:
        await_parameter(weight)
        tp = product.grid.tp
        x_TI = flatten_tokens(x)  # (T/R, I) where it is gathered
        amax = shared_magnitude(x_TI, None if product.column and not product.gathers else tp)
        if product.gathers:  # kept as it came in: it is gathered again, and other ranks' tokens lie between
            x8 = quantise(x_TI, E4M3, amax)
            kept = Scaled(x8.data.view(x.shape), x8.scale)  # (…, S/R, I)
            x8 = Scaled(flatten_tokens(_gather(kept.data, tp).wait()), x8.scale)  # (T, I)
        elif ctx.needs_input_grad[1]:
            x8, kept = quantise_both(x_TI, E4M3, amax)  # (T, I) and, for dW, (I, T)
        else:
            x8 = kept = quantise(x_TI, E4M3, amax)
        weight8 = product.linears.rounded(weight, tp, ctx.needs_input_grad[0])  # (O, I)
        ctx.save_for_backward(kept.data, kept.scale)
        ctx.weight, ctx.weight8, ctx.bias, ctx.product = weight, weight8, bias, product
        y_TO = multiply(x8, weight8.forward, x.dtype, fast=True)
        if bias is not None:
            y_TO += bias
        return y_TO.view(*x.shape[:-2], -1, len(weight))  # (…, S, O)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        dy, product, weight = grads[0], ctx.product, ctx.weight
        grid, dy_TO = product.grid, flatten_tokens(dy)
        x8_IT = _KeptInput(ctx) if ctx.needs_input_grad[1] else None
        amax = shared_magnitude(dy_TO, grid.tp if product.column else None)
        dy8, dy8_OT = quantise_both(dy_TO, product.linears.gradient, amax)  # dy8 (T, O)
        dx: collectives.Pending | None = None
        if ctx.needs_input_grad[0]:
            partial_TI = multiply(dy8, ctx.weight8.backward, dy.dtype)  # of this rank's O, by W as (I, O)
            dx = _summed(partial_TI.view(*dy.shape[:-1], weight.shape[1]), product)  # in the shape of x
            if not grid.overlap_tensor_parallel:
                dx.wait()
        dweight = None if x8_IT is None else _weight_gradient(weight, dy8_OT, x8_IT.wait())
        dbias = bias_gradient(ctx.bias, dy_TO) if ctx.bias is not None and ctx.needs_input_grad[2] else None
        return None if dx is None else dx.wait(), dweight, dbias, None


class _KeptInput:
    """What the forward pass kept, as (I, T); under sequence parallel its gathering starts at once."""

    def __init__(self, ctx: Any) -> None:
        self.kept = Scaled(*ctx.saved_tensors)
        self.gathering: collectives.Pending | None = None
        grid = ctx.product.grid
        if ctx.product.gathers:
            self.gathering = _gather(self.kept.data, grid.tp)
            if not grid.overlap_tensor_parallel:
                self.gathering.wait()

    def wait(self) -> Scaled:
        if self.gathering is None:
            return self.kept
        return Scaled(flatten_tokens(self.gathering.wait()), self.kept.scale).transposed()


def _gather(data: Tensor, axis: Axis) -> collectives.Pending:
    """All-gather of the tokens, as bytes: communication libraries need not know the type."""
    pending = collectives.gather_tokens(data.view(torch.uint8), axis)
    return collectives.Pending((), lambda: pending.wait().view(data.dtype))


def _summed(partial: Tensor, product: _Product) -> collectives.Pending:
    """dx in the shape of x from this rank's (…, S, I): the parts of a column-parallel layer's ranks add up."""
    if not product.column:
        return collectives.Pending((), lambda: partial)
    if product.grid.sequence_parallel:
        return collectives.scatter_tokens(partial, product.grid.tp)
    return collectives.all_reduce(partial, product.grid.tp)


def _weight_gradient(weight: Tensor, dy8_OT: Scaled, x8_IT: Scaled) -> Tensor | None:
    """dW = dyᵀ x, summed in fp32: added to the gradient buffer where there is one (then None), else returned."""
    main_grad = main_grad_of(weight)
    if main_grad is None:
        return multiply(dy8_OT, x8_IT, torch.float32).to(weight.dtype)
    add_product_(main_grad, dy8_OT, x8_IT)
    return None
