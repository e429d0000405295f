"""torch.compile on the fake device: each compiled function is one kernel forward and one backward.

That is what inductor makes of functions without reductions between their parts, and the least that it could make of
others. Nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from fake_cuda.recorder import Recorder


def compiler(recorder: Recorder) -> Callable[..., Any]:
    """What stands in for ``torch.compile``."""

    def compile_(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def fused(*arguments: Any) -> Any:
            leaves, structure = tree_flatten(arguments)
            places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
            shape: list[Any] = []

            def run(*tensors: Tensor) -> tuple[Tensor, ...]:
                given = list(leaves)
                for place, tensor in zip(places, tensors, strict=True):
                    given[place] = tensor
                outputs, made = tree_flatten(function(*tree_unflatten(given, structure)))
                shape[:] = [made]
                return tuple(outputs)

            outputs = _Fused.apply(run, recorder, function.__name__, *(leaves[place] for place in places))
            return tree_unflatten(list(outputs), shape[0])

        return fused

    return compile_


class _Fused(torch.autograd.Function):
    """Saves its inputs; the backward kernel makes from them what it needs."""

    @staticmethod
    def forward(
        ctx: Any, run: Callable[..., tuple[Tensor, ...]], recorder: Recorder, name: str, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.run, ctx.recorder, ctx.name = run, recorder, name
        ctx.save_for_backward(*tensors)
        with recorder.muted():
            outputs = tuple(output.clone() if output._is_view() else output for output in run(*tensors))
        recorder.add_kernel(f"compiled.{name}", tensors, outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        with ctx.recorder.muted(), torch.enable_grad():
            inputs = [
                tensor.detach().requires_grad_(needed)
                for tensor, needed in zip(tensors, ctx.needs_input_grad[3:], strict=True)
            ]
            outputs = ctx.run(*inputs)
            wanted = [tensor for tensor in inputs if tensor.requires_grad]
            pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
            found = iter(torch.autograd.grad([o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True))
            made = [next(found) if tensor.requires_grad else None for tensor in inputs]
        ctx.recorder.add_kernel(
            f"compiled.{ctx.name} backward", [*grads, *tensors], [grad for grad in made if grad is not None]
        )
        return None, None, None, *made
