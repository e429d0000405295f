"""AdamW, by any backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from steel_megatron.config import OptimizerConfig
from steel_megatron.ops import apex
from steel_megatron.ops.backends import choice
from steel_megatron.ops.native.optimizer import adamw_
from steel_megatron.ops.rounding import store
from steel_megatron.optim.rule import Rule, Slot, SlotPiece, State, Step
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import ParamSpec, param_dtype, row_slices


class AdamW(Rule):
    """AdamW (Loshchilov and Hutter, 2019). Arithmetic is fp32, whatever type the moments are kept in.

    Moments in bf16 are rounded stochastically, by random bits that depend on the seed, the tensor's name, the place in
    it and the step, and on nothing else. With rounding to nearest a second moment would stop falling as soon as
    1 - beta2 is less than half the spacing of bf16 numbers, 1/256.
    """

    def __init__(self, config: OptimizerConfig) -> None:
        super().__init__(config)
        self.moments = (
            State("exp_avg", param_dtype(config.exp_avg_dtype)),
            State("exp_avg_sq", param_dtype(config.exp_avg_sq_dtype)),
        )
        self.rounds = any(moment.dtype == torch.bfloat16 for moment in self.moments)

    def states(self, spec: ParamSpec) -> tuple[State, ...]:
        return self.moments

    def start(self, slots: Sequence[Slot], grid: Grid) -> None:
        super().start(slots, grid)
        self.groups = [
            (self.config.weight_decay, [slot for slot in slots if slot.spec.decay]),
            (0.0, [slot for slot in slots if not slot.spec.decay]),
        ]

    def update(self, step: Step) -> None:
        """Ours writes the weights in the same pass; the others' take fp32 tensors, all of a group at once."""
        backend = self._backend()
        if backend == "steel":
            for own_master in (False, True):
                slots = [slot for slot in self.slots if slot.own_master == own_master]
                self._update_compiled([piece for slot in slots for piece in slot.pieces], own_master, step)
            return
        for decay, slots in self.groups:
            # Copies of moments in bf16 are held for one shard at a time.
            for chosen in [[slot] for slot in slots] if self.rounds else [slots]:
                if chosen:
                    self._update_slots(chosen, decay, step, backend)
        for slot in self.slots:
            slot.copy_master()

    def _backend(self) -> str:
        if not self.slots or self.slots[0].shard.grad_rows.dtype != torch.float32:
            return "torch"
        return choice("adamw", self.grid.device.type).implementation

    def _update_compiled(self, pieces: Sequence[SlotPiece], own_master: bool, step: Step) -> None:
        """One pass over each master, its moments and its gradient, which writes the model's weight as well.

        Of each piece, m rows of a named tensor, the kernel takes:

            gradient      (m, …)  fp32, times the step's factor the mean's         read
            exp_avg       (m, …)  fp32 or bf16: β₁ exp_avg + (1 - β₁) gradient     read and written
            exp_avg_sq    (m, …)  fp32 or bf16: β₂ exp_avg_sq + (1 - β₂) gradient² read and written
            master        (m, …)  fp32: decayed, less lr times the moments' ratio  read and written
            param_rows    (m, …)  the model's type; none where they are the master written

        Args:
            own_master: whether the pieces' masters are tensors of their own.
        """
        config = self.config
        adamw_(
            [piece.param_rows for piece in pieces] if own_master else [],
            [piece.master for piece in pieces],
            [piece.grad_rows for piece in pieces],
            [piece.states["exp_avg"] for piece in pieces],
            [piece.states["exp_avg_sq"] for piece in pieces],
            [piece.decay for piece in pieces],
            [value for piece in pieces for value in piece.place.numbers],
            step.factor,
            step.lr,
            config.adam_beta1,
            config.adam_beta2,
            config.adam_eps,
            config.weight_decay,
            step.number,
        )

    def _update_slots(self, slots: Sequence[Slot], decay: float, step: Step, backend: str) -> None:
        """The same by a library, on fp32 tensors (n, …) of each slot: master, gradient and the two moments.

        What is fp32 already goes in as it is and is written in place. A gradient or a moment in another type is copied
        to fp32, and the moments' new values (n, …) are rounded back piece by piece; the weights are copied later.
        """
        config = self.config
        states = (
            [slot.master for slot in slots],
            [slot.shard.grad_rows.float() for slot in slots],
            [slot.states["exp_avg"].float() for slot in slots],
            [slot.states["exp_avg_sq"].float() for slot in slots],
        )
        betas = config.adam_beta1, config.adam_beta2
        if backend == "apex":
            apex.adamw_(*states, step.factor, step.lr, *betas, config.adam_eps, decay, step.number)
        else:
            before = torch.full((len(slots),), step.number - 1.0, device=step.factor.device)  # the kernel counts on
            adamw(
                *states,
                [],
                list(before.unbind()),
                fused=True,
                grad_scale=step.factor.reciprocal().float(),  # the kernel divides by it
                found_inf=step.factor.isnan().float(),
                amsgrad=False,
                beta1=betas[0],
                beta2=betas[1],
                lr=step.lr,
                weight_decay=decay,
                eps=config.adam_eps,
                maximize=False,
            )
        if self.rounds:
            (slot,) = slots
            self._round(slot, states[2][0], states[3][0], step.number)

    def _round(self, slot: Slot, exp_avg: Tensor, exp_avg_sq: Tensor, number: int) -> None:
        """Stores new moments, fp32 (n, …): the first by the upper halves of random words, the second by the lower."""
        shard = slot.shard
        exact = (row_slices(shard.parameter, shard.first_row, tensor) for tensor in (exp_avg, exp_avg_sq))
        for piece, (_, first), (_, second) in zip(slot.pieces, *exact, strict=True):
            store(piece.states["exp_avg"], first.tensor, piece.place, number, upper=True)
            store(piece.states["exp_avg_sq"], second.tensor, piece.place, number, upper=False)


RULE = AdamW
