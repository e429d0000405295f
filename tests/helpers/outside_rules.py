"""An optimizer's rule as a user might bring it along: ``helpers.outside_rules:Rowwise``."""

from __future__ import annotations

import math

from steel_megatron.config import OptimizerConfig
from steel_megatron.optim.rule import Rule, Slot, State, Step
from steel_megatron.parallel.collectives import all_reduce
from steel_megatron.parallel.parameter import ParamSpec, param_dtype


class Rowwise(Rule):
    """Momentum over the root of the gradients' mean square in each row of the whole tensor."""

    def __init__(self, config: OptimizerConfig, beta: float = 0.9, dtype: str = "fp32") -> None:
        super().__init__(config)
        self.beta = beta
        self.dtype = param_dtype(dtype)

    def states(self, spec: ParamSpec) -> tuple[State, ...]:
        return State("momentum", self.dtype), State("row_square", per_row=True)

    def update_slot(self, slot: Slot, step: Step) -> None:
        gradient, piece = slot.gradient(step), slot.spec.pieces[0]
        square = gradient.square().reshape(len(gradient), -1).sum(1)
        if piece.shape[1:] != piece.global_shape[1:]:
            square = all_reduce(square, self.grid.tp).wait()
        square = square / math.prod(piece.global_shape[1:])
        momentum = self.beta * slot.states["momentum"] + (1 - self.beta) * gradient
        row_square = self.beta * slot.states["row_square"] + (1 - self.beta) * square
        size = (row_square.sqrt() + 1e-8).view(-1, *[1] * (gradient.dim() - 1))
        slot.write_master(step, slot.decayed(step, self.config) - step.lr * momentum / size)
        slot.write(step, "momentum", momentum)
        slot.write(step, "row_square", row_square)


class Whole(Rowwise):
    """The same for a rule that updates whole matrices."""

    whole = ("matrix",)

    def update_slot(self, slot: Slot, step: Step) -> None:
        if slot.spec.kind == "matrix" and len(slot.master) != len(slot.shard.parameter):
            raise ValueError(f"only {len(slot.master)} rows of {slot.spec.pieces[0].name}")
        super().update_slot(slot, step)
