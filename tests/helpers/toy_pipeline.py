"""A model of small stages for pipeline tests, and the same computed in one go.

Shapes: B samples of a micro-batch, H hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steel_megatron.parallel.parameter import ParamSpec, Piece, attach_spec
from steel_megatron.parallel.pipeline.executor import Hidden, Output, PassSettings

SAMPLES, HIDDEN = 3, 6
HANDED_OVER = Hidden((SAMPLES, HIDDEN), torch.float64)

MicroBatch = tuple[Tensor, Tensor]  # input_BH, target_BH


class ToyStage(nn.Module):
    """x + tanh(x W + b); the first stage starts from the micro-batch's input, the last ends in a loss (a sum)."""

    def __init__(self, number: int, stages: int, recompute: bool = False) -> None:
        super().__init__()
        self.first, self.last = number == 0, number == stages - 1
        self.recompute = recompute
        generator = torch.Generator().manual_seed(1000 + number)
        for name, shape in (("weight", (HIDDEN, HIDDEN)), ("bias", (HIDDEN,))):
            parameter = nn.Parameter(torch.randn(shape, dtype=torch.float64, generator=generator))
            piece = Piece(f"stages.{number}.{name}", shape, shape, (0,) * len(shape))
            setattr(self, name, attach_spec(parameter, ParamSpec((piece,), decay=False)))
        self.deferred: list[Callable[[], None]] | None = None

    def forward(self, hidden: Tensor | None, micro_batch: MicroBatch, settings: PassSettings) -> Output:
        assert (hidden is None) == self.first
        x_BH = micro_batch[0] if hidden is None else hidden
        if self.recompute and torch.is_grad_enabled():
            x_BH = checkpoint(self.layer, x_BH, use_reentrant=False)
        else:
            x_BH = self.layer(x_BH)
        return Output((x_BH - micro_batch[1]).square().sum(), micro_batch[1]) if self.last else Output(x_BH)

    def layer(self, x_BH: Tensor) -> Tensor:
        return x_BH + torch.tanh(_Product.apply(x_BH, self.weight, self) + self.bias)

    @contextlib.contextmanager
    def defer_weight_gradients(self) -> Iterator[Callable[[], None]]:
        """Of ``weight``; the bias's gradient is too cheap to wait."""
        deferred: list[Callable[[], None]] = []
        self.deferred = deferred
        yield lambda: [step() for step in deferred].clear()
        self.deferred = None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BH: Tensor, weight: Tensor, stage: ToyStage) -> Tensor:
        ctx.save_for_backward(x_BH)
        ctx.weight, ctx.stage = weight, stage
        return x_BH @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x_BH,), weight = ctx.saved_tensors, ctx.weight
        dx = grads[0] @ weight.t() if ctx.needs_input_grad[0] else None
        if ctx.stage.deferred is None:
            return dx, x_BH.t() @ grads[0], None

        def later() -> None:
            dw = x_BH.t() @ grads[0]
            weight.grad = dw if weight.grad is None else weight.grad + dw

        ctx.stage.deferred.append(later)
        return dx, None, None


def toy_micro_batches(count: int, seed: int = 0) -> list[MicroBatch]:
    generator = torch.Generator().manual_seed(seed)
    make = lambda: torch.randn(SAMPLES, HIDDEN, dtype=torch.float64, generator=generator)  # noqa: E731 - twice below
    return [(make(), make()) for _ in range(count)]


def in_one_go(stages: int, micro_batches: Sequence[MicroBatch], loss_gradient: float) -> tuple[list[Tensor], list[Any]]:
    """(losses, [stage] → its gradients) without a pipeline."""
    model = [ToyStage(number, stages) for number in range(stages)]
    losses = []
    for micro_batch in micro_batches:
        hidden = None
        for stage in model:
            hidden, _ = stage(hidden, micro_batch, PassSettings(True, loss_gradient))
        assert hidden is not None
        (hidden * loss_gradient).backward()
        losses.append(hidden.detach())
    return losses, [gradients(stage) for stage in model]


def gradients(stage: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in stage.parameters()]
