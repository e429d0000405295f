"""Shapes of results, and gradients, of the operations that native/ and compiled/ both have; registered with each.

Shapes as in the files of the operations. ``Operation``: what ``torch.library.custom_op`` gives.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Operation = Any


def like(x: Tensor) -> Tensor:
    """Contiguous, of its shape and type."""
    return x.new_empty(x.shape)


def no_result(*arguments: object) -> None:
    """The fake of an operation that returns nothing: what it writes has its shape."""


def row_statistics(x: Tensor) -> Tensor:
    """One fp32 number per row."""
    return x.new_empty(math.prod(x.shape[:-1]), dtype=torch.float32)


def register_norm(norm: Operation, add_norm: Operation, backward: Operation) -> None:
    """RMSNorm, and with a bias LayerNorm; both have as many statistics of a row as parameters.

    Gradients that are not there stay None: no zeros are written for the statistics, nor for a sum nobody reads.

    Args:
        norm: (x, parameters…, epsilon) → (y, statistics…).
        add_norm: (x, residual, parameters…, epsilon) → (norm of the sum, sum, statistics…).
        backward: (gradient, that of the sum, x, weight, statistics…) → (gradient of x, those of the parameters…).
    """

    def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:2], *output[1:])

    def gradient(ctx: Any, grad: Tensor | None, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * len(ctx.needs_input_grad)
        return *backward(grad, None, *ctx.saved_tensors), None

    def keep_sum(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1], inputs[2], *output[2:])

    def gradient_of_sum(
        ctx: Any, grad: Tensor | None, grad_sum: Tensor | None, *unused: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if grad is None:
            return grad_sum, grad_sum, *[None] * (len(ctx.needs_input_grad) - 2)
        grad_x, *of_parameters = backward(grad, grad_sum, *ctx.saved_tensors)
        return grad_x, grad_x, *of_parameters, None

    norm.register_fake(lambda x, *given: (like(x), *(row_statistics(x) for _ in given[:-1])))
    add_norm.register_fake(lambda x, _, *given: (like(x), like(x), *(row_statistics(x) for _ in given[:-1])))
    backward.register_fake(lambda grad, _, x, weight_H, *kept: (like(x), *(like(weight_H) for _ in kept)))
    norm.register_autograd(gradient, setup_context=keep)
    add_norm.register_autograd(gradient_of_sum, setup_context=keep_sum)


def activated_shape(x: Tensor, gated: bool) -> list[int]:
    """That of an activation's result.

    Raises:
        ValueError: a gate and what it opens are not of one width.
    """
    if gated and x.shape[-1] % 2:
        raise ValueError(f"gate and up have {x.shape[-1]} channels together: it must be an even number")
    return [*x.shape[:-1], x.shape[-1] // (2 if gated else 1)]


def register_activation(activation: Operation, backward: Operation) -> None:
    """Only the input is saved."""

    def keep(ctx: Any, inputs: tuple[Tensor, str, bool], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.function, ctx.gated = inputs[1:]

    def gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return backward(grad, *ctx.saved_tensors, ctx.function, ctx.gated), None, None

    activation.register_fake(lambda x, function, gated: x.new_empty(activated_shape(x, gated)))
    backward.register_fake(lambda grad, x, function, gated: like(x))
    activation.register_autograd(gradient, setup_context=keep)


def register_rope(rope: Operation, rope_: Operation, heads_backward: Operation) -> None:
    """Linear in x: the backward pass turns the other way, and nothing but the angles is saved."""

    def keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, bool], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:3])
        ctx.back = inputs[3]

    def gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return rope(grad, *ctx.saved_tensors, not ctx.back), None, None, None

    def projection(*given: Tensor) -> Tensor:
        grads = given[:3]
        return grads[0].new_empty(*grads[0].shape[:2], sum(grad.shape[2] * grad.shape[3] for grad in grads))

    rope.register_fake(lambda x_BSND, *angles: like(x_BSND))
    rope_.register_fake(no_result)
    heads_backward.register_fake(projection)
    rope.register_autograd(gradient, setup_context=keep)


def register_cross_entropy(statistics: Operation, gradient_: Operation) -> None:
    """Two numbers per token; the gradient is written over the logits."""
    statistics.register_fake(lambda logits_TV, *given: (row_statistics(logits_TV), row_statistics(logits_TV)))
    gradient_.register_fake(no_result)


def normed_heads(qkv_BSC: Tensor, weight_D: Tensor, queries: int) -> tuple[Tensor, Tensor]:
    """Empty query and key heads (B, S, M, D) for a fused projection of so many query heads, and a number for each."""
    size = len(weight_D)
    heads = qkv_BSC.new_empty(*qkv_BSC.shape[:2], (qkv_BSC.shape[-1] // size + queries) // 2, size)
    return heads, heads.new_empty(heads.shape[:3], dtype=torch.float32)


def register_qk_norm_rope(forward: Operation, backward: Operation) -> None:
    """The shapes alone: :mod:`steel_megatron.ops.qk_norm_rope` has the gradient."""
    forward.register_fake(lambda qkv, query, key, cosine, sine, queries, epsilon: normed_heads(qkv, query, queries))
    backward.register_fake(lambda q, k, v, qkv, query, key, *kept: (like(qkv), like(query), like(key)))
