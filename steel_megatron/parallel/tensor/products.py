"""The matrix products of the tensor-parallel layers, with their gradients written out.

Shapes: … leading dimensions (B, S or T), I in features, O out features; W is (O, I). R tp ranks, rank r holds W_r.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops import matmul
from steel_megatron.parallel import collectives
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.regions import leave_region
from steel_megatron.parallel.tensor.weight_grad import (
    await_parameter,
    bias_gradient,
    linear_weight_gradient,
    main_grad_of,
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x Wᵀ + b without communication; dW goes into the gradient buffer where there is one.

    forward y = x Wᵀ; backward dx = dy W, dW = dyᵀ x, db = Σ dy. Saved: x.
    """
    await_parameter(weight)
    if main_grad_of(weight) is None or not torch.is_grad_enabled():
        return matmul.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)


def column_linear(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """Each rank computes its own output features from the whole input.

    W is cut into rows W_r (O/R, I), x is the same on every rank:

        forward   X = x                         or, sequence parallel, all-gather of x (…, S/R, I) to (…, S, I)
                  y_r = X W_rᵀ                  (…, S, O/R); no sum is needed
        dgrad     dX_r = dy_r W_r               partial, (…, S, I)
                  dx = Σ_r dX_r                 all-reduce, or reduce-scatter along the sequence
        wgrad     dW_r = dy_rᵀ X

    Saved: x as it came in; under sequence parallel X is gathered again in backward instead of being kept. With
    ``grid.overlap_tensor_parallel`` the gather runs beside the dgrad matmul, the sum of dX beside the wgrad matmul.
    At R = 1 this is :func:`linear`.
    """
    if grid.tp.size == 1:
        return linear(x, weight, bias)
    await_parameter(weight)
    return _ColumnLinear.apply(x, weight, bias, grid)


def row_linear(x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
    """Each rank multiplies its own input features; the partial products are summed.

    W is cut into columns W_r (O, I/R), x_r (…, S, I/R) is a column-parallel layer's output:

        forward   y = Σ_r x_r W_rᵀ + b          all-reduce, or reduce-scatter along the sequence to (…, S/R, O)
        dgrad     dx_r = dy W_r                 dy whole on every rank: as it is, or all-gathered along the sequence
        wgrad     dW_r = dyᵀ x_r

    Saved: x_r. The bias is added once, after the sum. At R = 1 this is :func:`linear`.
    """
    if grid.tp.size == 1:
        return linear(x, weight, bias)
    y = leave_region(linear(x, weight), grid)
    return y if bias is None else y + bias


def flatten_tokens(x: Tensor) -> Tensor:
    """(…, C) → (T, C)."""
    return x.reshape(-1, x.shape[-1])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x)
        # Not through save_for_backward: activation recomputation hands back detached tensors, without main_grad.
        ctx.weight, ctx.bias = weight, bias
        return matmul.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (x,), dy = ctx.saved_tensors, grads[0]
        dx = matmul.input_gradient(dy, ctx.weight) if ctx.needs_input_grad[0] else None
        return (dx, *_parameter_gradients(ctx, dy, x))


class _ColumnLinear(torch.autograd.Function):
    """:func:`column_linear` over R > 1 ranks. x is (…, S/R, I) under sequence parallel, else (…, S, I)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.bias, ctx.grid = weight, bias, grid
        whole = collectives.gather_tokens(x, grid.tp).wait() if grid.sequence_parallel else x
        return matmul.linear(whole, weight, bias)  # (…, S, O/R)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (x,), dy, grid = ctx.saved_tensors, grads[0], ctx.grid  # dy (…, S, O/R)
        whole = collectives.Pending((), lambda: x)
        if grid.sequence_parallel:
            whole = collectives.gather_tokens(x, grid.tp)
            if not grid.overlap_tensor_parallel:
                whole.wait()
        partial = matmul.input_gradient(dy, ctx.weight)  # (…, S, I), of this rank's output features alone
        X = whole.wait()  # (…, S, I)
        if grid.sequence_parallel:
            dx = collectives.scatter_tokens(partial, grid.tp)
        else:
            dx = collectives.all_reduce(partial, grid.tp)
        if not grid.overlap_tensor_parallel:
            dx.wait()
        dweight, dbias = _parameter_gradients(ctx, dy, X)  # (O/R, I) and (O/R), while the ranks sum dx
        return dx.wait(), dweight, dbias, None  # dx has the shape of x


def _parameter_gradients(ctx: Any, dy: Tensor, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """dW (O, I) and db (O) of this rank's features; None where the gradient buffer takes it or nobody wants it."""
    dy_TO = flatten_tokens(dy)
    dweight = linear_weight_gradient(ctx.weight, dy_TO, flatten_tokens(x)) if ctx.needs_input_grad[1] else None
    dbias = bias_gradient(ctx.bias, dy_TO) if ctx.bias is not None and ctx.needs_input_grad[2] else None
    return dweight, dbias
