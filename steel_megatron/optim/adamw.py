"""AdamW's state on this rank's shards, and its update by any backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from steel_megatron.config import OptimizerConfig
from steel_megatron.ops import apex
from steel_megatron.ops.native.optimizer import adamw_
from steel_megatron.ops.rounding import Place, store
from steel_megatron.parallel.data.data_parallel import Shard
from steel_megatron.parallel.parameter import param_dtype, row_slices, spec_of


@dataclass(frozen=True)
class Slot:
    """The optimizer's state of one shard; all of it has the shard's rows."""

    shard: Shard
    master: Tensor  # fp32; the parameter's own rows when the model is fp32
    exp_avg: Tensor  # fp32 or bf16
    exp_avg_sq: Tensor  # fp32 or bf16
    update_count: Tensor  # fp32 scalar

    @property
    def own_master(self) -> bool:
        """Whether the master is not the parameter itself."""
        return self.master is not self.shard.param_rows

    def states(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, by name."""
        states = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
        return states | {"master": self.master} if self.own_master else states


@dataclass(frozen=True)
class Part:
    """The rows of one layout-independent tensor in a slot, as views."""

    param_rows: Tensor
    master: Tensor
    grad_rows: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    place: Place
    decay: bool


class AdamW:
    """AdamW (Loshchilov and Hutter, 2019). Arithmetic is fp32, whatever type the moments are kept in.

    Moments in bf16 are rounded stochastically, by random bits that depend on the seed, the tensor's name, the place in
    it and the step, and on nothing else. With rounding to nearest a second moment would stop falling as soon as
    1 - beta2 is less than half the spacing of bf16 numbers, 1/256.

    Args:
        shards: what is updated.
        config: moments' types, betas, epsilon and decay.
        seed: of the rounding.
    """

    def __init__(self, shards: Sequence[Shard], config: OptimizerConfig, seed: int) -> None:
        self.config = config
        types = param_dtype(config.exp_avg_dtype), param_dtype(config.exp_avg_sq_dtype)
        self.slots = [_slot(shard, *types) for shard in shards]
        self.rounds = torch.bfloat16 in types
        self.parts = [list(_parts(slot, seed)) for slot in self.slots]
        numbers = range(len(self.slots))
        decayed = [spec_of(slot.shard.parameter).decay for slot in self.slots]
        self.groups = [
            (config.weight_decay, [n for n in numbers if decayed[n]]),
            (0.0, [n for n in numbers if not decayed[n]]),
        ]

    def update(self, lr: float, factor: Tensor, number: int, backend: str) -> None:
        """One step, on masters and weights.

        Args:
            factor: what gradients are multiplied by, an fp64 scalar on the device; not a number: nothing changes.
            number: of this update, from 1.
            backend: "steel", "apex" or "torch".
        """
        if backend == "steel":
            slots = list(zip(self.slots, self.parts, strict=True))
            for own_master in (False, True):
                parts = [part for slot, own in slots if slot.own_master == own_master for part in own]
                self._update_compiled(parts, own_master, lr, factor, number)
            return
        for decay, numbers in self.groups:
            # Copies of moments in bf16 are held for one shard at a time.
            for chosen in [[n] for n in numbers] if self.rounds else [numbers]:
                if chosen:
                    self._update_slots(chosen, decay, lr, factor, number, backend)
        self.copy_masters()

    def copy_masters(self) -> None:
        """The weights become the masters' values."""
        for slot in self.slots:
            if slot.own_master:
                slot.shard.param_rows.copy_(slot.master)

    def _update_compiled(self, parts: Sequence[Part], own_master: bool, lr: float, factor: Tensor, number: int) -> None:
        """One pass over each master, its moments and its gradient, which writes the model's weight as well."""
        config = self.config
        adamw_(
            [part.param_rows for part in parts] if own_master else [],
            [part.master for part in parts],
            [part.grad_rows for part in parts],
            [part.exp_avg for part in parts],
            [part.exp_avg_sq for part in parts],
            [part.decay for part in parts],
            [value for part in parts for value in part.place.numbers],
            factor,
            lr,
            config.adam_beta1,
            config.adam_beta2,
            config.adam_eps,
            config.weight_decay,
            number,
        )

    def _update_slots(
        self, numbers: Sequence[int], decay: float, lr: float, factor: Tensor, number: int, backend: str
    ) -> None:
        config, slots = self.config, [self.slots[n] for n in numbers]
        states = (
            [slot.master for slot in slots],
            [slot.shard.grad_rows.float() for slot in slots],
            [slot.exp_avg.float() for slot in slots],
            [slot.exp_avg_sq.float() for slot in slots],
        )
        betas = config.adam_beta1, config.adam_beta2
        if backend == "apex":
            apex.adamw_(*states, factor, lr, *betas, config.adam_eps, decay, number)
        else:
            adamw(
                *states,
                [],
                [slot.update_count for slot in slots],
                fused=True,
                grad_scale=factor.reciprocal().float(),  # the kernel divides by it
                found_inf=factor.isnan().float(),
                amsgrad=False,
                beta1=betas[0],
                beta2=betas[1],
                lr=lr,
                weight_decay=decay,
                eps=config.adam_eps,
                maximize=False,
            )
        if self.rounds:
            (slot,) = slots
            self._round(slot, self.parts[numbers[0]], states[2][0], states[3][0], number)

    def _round(self, slot: Slot, parts: Sequence[Part], exp_avg: Tensor, exp_avg_sq: Tensor, number: int) -> None:
        shard = slot.shard
        exact = (row_slices(shard.parameter, shard.first_row, tensor) for tensor in (exp_avg, exp_avg_sq))
        for part, (_, first), (_, second) in zip(parts, *exact, strict=True):
            store(part.exp_avg, first.tensor, part.place, number, upper=True)
            store(part.exp_avg_sq, second.tensor, part.place, number, upper=False)


def _slot(shard: Shard, exp_avg_dtype: torch.dtype, exp_avg_sq_dtype: torch.dtype) -> Slot:
    rows = shard.param_rows
    return Slot(
        shard,
        rows if rows.dtype == torch.float32 else rows.float(),
        torch.zeros_like(rows, dtype=exp_avg_dtype),
        torch.zeros_like(rows, dtype=exp_avg_sq_dtype),
        torch.zeros((), dtype=torch.float32, device=rows.device),
    )


def _parts(slot: Slot, seed: int) -> Iterator[Part]:
    shard = slot.shard
    tensors = (shard.param_rows, slot.master, shard.grad_rows, slot.exp_avg, slot.exp_avg_sq)
    decay = spec_of(shard.parameter).decay
    for pieces in zip(*(row_slices(shard.parameter, shard.first_row, t) for t in tensors), strict=True):
        piece, block = pieces[0]
        place = Place.of(piece.name, seed, block.offset, block.tensor.shape)
        weight, master, grad, exp_avg, exp_avg_sq = (found.tensor for _, found in pieces)
        yield Part(weight, master, grad, exp_avg, exp_avg_sq, place, decay)
