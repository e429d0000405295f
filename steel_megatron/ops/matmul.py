"""The products of linear layers and of attention, where 16-bit matrices are multiplied by what the device is fast at.

A GPU multiplies 16-bit matrices itself, and so does a CPU with instructions for them. On other CPUs
(:mod:`~steel_megatron.ops.cpu_products`) they are stored in 16 bits and multiplied in fp32: blocks of them are cast,
and a result is rounded once, from its fp32 sum. That is the arithmetic of a GPU's tensor cores.

Shapes: … leading dimensions, T tokens, I in features, O out features; W is (O, I).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from steel_megatron.ops.backends import serves
from steel_megatron.ops.cpu_products import in_fp32
from steel_megatron.ops.native.library import call
from steel_megatron.ops.operations import Operation, declare

# Elements in fp32 at a time: of the tokens' features, and of a weight's rows or what they give. A weight is cast once
# per block of tokens, which costs as much as multiplying it by a few dozen of them.
TOKEN_ELEMENTS = 1 << 21
ROW_ELEMENTS = 1 << 19
LEAST_TOKENS = 256
FEW_TOKENS = 16  # up to so many, casting a weight costs more than multiplying it


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x Wᵀ + b, (…, I) → (…, O); differentiable. Saved: x."""
    if not in_fp32(x):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _LinearInFp32.apply(x, weight, bias)
    return _linear(x, weight, bias)


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """dx = dy W, (…, O) → (…, I)."""
    if not in_fp32(grad):
        return grad @ weight
    grad_TO = _flat(grad)
    result_TI = grad.new_empty(len(grad_TO), weight.shape[1])
    input_gradient_into(result_TI, grad_TO, weight)
    return result_TI.view(*grad.shape[:-1], weight.shape[1])


def linear_into(result_TO: Tensor, x_TI: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    """:func:`linear` of a flat ``x`` into memory that is there; not differentiable."""
    if not in_fp32(x_TI):
        if bias is None:
            torch.mm(x_TI, weight.t(), out=result_TO)
        else:
            torch.addmm(bias, x_TI, weight.t(), out=result_TO)
        return
    if len(x_TI) <= FEW_TOKENS and serves("few_tokens_linear", x_TI, weight, bias):
        result_TO.copy_(few_tokens_linear(x_TI, weight, bias))
        return
    for tokens in _token_blocks(*x_TI.shape):
        _linear_block(result_TO[tokens], x_TI[tokens].float(), weight, bias)


def input_gradient_into(result_TI: Tensor, grad_TO: Tensor, weight: Tensor) -> None:
    """:func:`input_gradient` of flat gradients into memory that is there."""
    if not in_fp32(grad_TO):
        torch.mm(grad_TO, weight, out=result_TI)
        return
    for tokens in _token_blocks(*result_TI.shape):
        result_TI[tokens] = _input_gradient_block(grad_TO[tokens], weight)


def add_weight_gradient(total_OI: Tensor, grad_TO: Tensor, x_TI: Tensor) -> None:
    """total += dyᵀ x in fp32 arithmetic, for types that :func:`~steel_megatron.ops.cpu_products.in_fp32` names.

    An fp32 ``total`` is added to as it is; one of another type is rounded once.
    """
    if total_OI.dtype != torch.float32:
        for rows in _row_blocks(len(x_TI), *total_OI.shape):
            total_OI[rows] = _sum_of(total_OI[rows].float(), grad_TO[:, rows], x_TI)
        return
    for tokens in _token_blocks(*x_TI.shape):
        _weight_gradient_block(total_OI, grad_TO[tokens], x_TI[tokens].float())


def weight_gradient(grad_TO: Tensor, x_TI: Tensor) -> Tensor:
    """dW = dyᵀ x, (O, I), in the type of its factors."""
    if not in_fp32(x_TI):
        return grad_TO.t() @ x_TI
    result_OI = x_TI.new_zeros(grad_TO.shape[1], x_TI.shape[1])
    add_weight_gradient(result_OI, grad_TO, x_TI)
    return result_OI


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a b of batches of matrices, as ``@``; differentiable. Saved: both."""
    return _ProductInFp32.apply(a, b) if in_fp32(a) else a @ b


class _LinearInFp32(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (x, weight), (grad,) = ctx.saved_tensors, grads
        x_TI, grad_TO = _flat(x), _flat(grad)
        return (
            input_gradient(grad, weight) if ctx.needs_input_grad[0] else None,
            weight_gradient(grad_TO, x_TI) if ctx.needs_input_grad[1] else None,
            grad_TO.sum(0) if ctx.needs_input_grad[2] else None,
        )


class _ProductInFp32(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return (a.float() @ b.float()).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        grad = grads[0].float()
        return (
            (grad @ b.float().mT).to(a.dtype) if ctx.needs_input_grad[0] else None,
            (a.float().mT @ grad).to(b.dtype) if ctx.needs_input_grad[1] else None,
        )


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x_TI = _flat(x)
    result_TO = x.new_empty(len(x_TI), len(weight))
    linear_into(result_TO, x_TI, weight, bias)
    return result_TO.view(*x.shape[:-1], len(weight))


# A block is the work of a function, so that what it holds is free before the next one.
def _linear_block(result_TO: Tensor, x_TI: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for rows in _row_blocks(len(x_TI), *weight.shape):
        if bias is None:
            result_TO[:, rows] = torch.mm(x_TI, weight[rows].float().t())
        else:
            result_TO[:, rows] = torch.addmm(bias[rows].float(), x_TI, weight[rows].float().t())


def _input_gradient_block(grad_TO: Tensor, weight: Tensor) -> Tensor:
    total_TI = torch.zeros(len(grad_TO), weight.shape[1], dtype=torch.float32)
    for rows in _row_blocks(len(grad_TO), *weight.shape):
        total_TI.addmm_(grad_TO[:, rows].float(), weight[rows].float())
    return total_TI


def _weight_gradient_block(total_OI: Tensor, grad_TO: Tensor, x_TI: Tensor) -> None:
    for rows in _row_blocks(len(x_TI), *total_OI.shape):
        total_OI[rows].addmm_(grad_TO[:, rows].float().t(), x_TI)


def _sum_of(total_OI: Tensor, grad_TO: Tensor, x_TI: Tensor) -> Tensor:
    add_weight_gradient(total_OI, grad_TO, x_TI)
    return total_OI


def _flat(x: Tensor) -> Tensor:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def working_elements(tokens: int, rows: int, features: int) -> int:
    """The most fp32 elements that a product with a weight (rows, features) holds beside its inputs and result."""
    tokens = _longest(_token_blocks(tokens, features))
    rows = _longest(_row_blocks(tokens, rows, features))
    return tokens * features + tokens * rows + rows * features


def _token_blocks(tokens: int, features: int) -> Iterator[slice]:
    return _slices(tokens, max(TOKEN_ELEMENTS // max(features, 1), LEAST_TOKENS))


def _row_blocks(tokens: int, rows: int, features: int) -> Iterator[slice]:
    return _slices(rows, max(ROW_ELEMENTS // max(features, tokens, 1), 1))


def _slices(count: int, step: int) -> Iterator[slice]:
    """In equal parts of at most ``step``."""
    parts = -(-count // step)
    for part in range(parts):
        yield slice(part * count // parts, (part + 1) * count // parts)


def _longest(slices: Iterator[slice]) -> int:
    return max((part.stop - part.start for part in slices), default=0)


@torch.library.custom_op("steel::few_tokens_linear", mutates_args=())
def few_tokens_linear(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """x Wᵀ + b, (T, O), summed in fp32 and rounded once; a token's result does not depend on the others."""
    tokens, features = x_TI.shape
    rows = len(weight_OI)
    if weight_OI.shape[1] != features or (bias_O is not None and bias_O.shape != (rows,)):
        raise ValueError(f"x {tuple(x_TI.shape)} by a weight {tuple(weight_OI.shape)}: rows of both are as long")
    given = [None if tensor is None else tensor.contiguous() for tensor in (x_TI, weight_OI, bias_O)]
    y_TO = x_TI.new_empty(tokens, rows)
    call("few_tokens_linear", x_TI, *given, y_TO, tokens, rows, features)
    return y_TO


few_tokens_linear.register_fake(lambda x_TI, weight_OI, bias_O: x_TI.new_empty(len(x_TI), len(weight_OI)))


declare(
    "few_tokens_linear",
    Operation(
        "16-bit matmul of a few tokens in fp32",
        ("steel", "torch"),
        {"cpu": {"steel": "reads each weight once, where torch would cast it first"}},
        measured=False,
    ),
)
