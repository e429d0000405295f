"""What an optimizer's rule is: how weights follow from gradients, whoever holds which rows of them.

The optimizer owns the fp32 masters, the clipping, the loss scale and the count of updates; a rule owns what it keeps of
earlier gradients. A rule of one's own needs a class in a file, and ``--optimizer path.py:Name``::

    from steel_megatron.optim.rule import Rule, State

    class Lion(Rule):  # Chen et al., 2023
        def __init__(self, config, beta=0.99):
            super().__init__(config)
            self.beta = beta

        def states(self, spec):
            return (State("momentum"),)

        def update_slot(self, slot, step):
            gradient, momentum = slot.gradient(step), slot.states["momentum"]
            direction = (0.9 * momentum + 0.1 * gradient).sign()
            slot.write_master(step, slot.decayed(step, self.config) - step.lr * direction)
            slot.write(step, "momentum", self.beta * momentum + (1 - self.beta) * gradient)

Shapes: n rows of a parameter (n, …).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steel_megatron.config import OptimizerConfig
from steel_megatron.config.optimizer import OPTIMIZERS
from steel_megatron.ops.rounding import Place, store
from steel_megatron.parallel.data.data_parallel import Shard
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import ParamSpec, row_slices, spec_of


@dataclass(frozen=True)
class State:
    """A tensor that a rule keeps beside each parameter, zeros at first.

    ``name``: a checkpoint has it as ``optimizer.{name}.{tensor}``. ``dtype``: fp32, or bf16, to which it is rounded
    stochastically. ``per_row``: a number for each row, the same on all ranks of tensor parallel that have some of its
    columns; otherwise for each element.
    """

    name: str
    dtype: torch.dtype = torch.float32
    per_row: bool = False

    def shape(self, parameter: Sequence[int]) -> tuple[int, ...]:
        """(n,) or (n, …) beside a parameter's (n, …)."""
        return tuple(parameter[:1] if self.per_row else parameter)

    def bytes(self, rows: int, row_numel: int) -> int:
        """Beside so many rows of a parameter."""
        return rows * (1 if self.per_row else row_numel) * self.dtype.itemsize


@dataclass(frozen=True)
class Step:
    """One update. ``factor``: what gradients are multiplied by, an fp64 scalar on the device; not a number: nothing
    changes. ``number``: of this update, from 1."""

    lr: float
    factor: Tensor
    number: int


@dataclass(frozen=True)
class SlotPiece:
    """The m rows of one layout-independent tensor in a slot, as views (m, …) of all that the slot has."""

    param_rows: Tensor
    master: Tensor
    grad_rows: Tensor
    states: Mapping[str, Tensor]  # those per element, (m, …)
    place: Place
    decay: bool


@dataclass(frozen=True)
class Slot:
    """What a step reads and writes of one shard, n rows of a parameter:

    shard.grad_rows   (n, …)         in the gradient's type: the sum over all ranks, times the step's factor the mean
    states            (n, …) or (n,) by name: read and written by the rule
    master            (n, …)         fp32: written by the rule; in an fp32 model the parameter's own rows
    shard.param_rows  (n, …)         in the model's type: the master, rounded
    pieces            (m, …) each    views of these, one for each named tensor that the n rows touch, in their order
    """

    shard: Shard
    master: Tensor
    states: dict[str, Tensor]
    pieces: tuple[SlotPiece, ...]

    @property
    def spec(self) -> ParamSpec:
        """Of the parameter."""
        return spec_of(self.shard.parameter)

    @property
    def own_master(self) -> bool:
        """Whether the master is not the parameter itself."""
        return self.master is not self.shard.param_rows

    def gradient(self, step: Step) -> Tensor:
        """(n, …) in fp32, of the mean loss and clipped; not a number in a step that changes nothing."""
        return self.shard.grad_rows.float() * step.factor.float()

    def decayed(self, step: Step, config: OptimizerConfig) -> Tensor:
        """The master after its weight decay, if it has one."""
        return self.master * (1.0 - step.lr * config.weight_decay) if self.spec.decay else self.master

    def write_master(self, step: Step, values: Tensor) -> None:
        """Takes new values, unless the step changes nothing."""
        self.master.copy_(torch.where(step.factor.isnan(), self.master, values))

    def write(self, step: Step, name: str, values: Tensor) -> None:
        """The same for a state, rounded stochastically where it is kept in bf16."""
        state = self.states[name]
        values = torch.where(step.factor.isnan(), state.float(), values)
        if state.dtype == torch.float32:
            state.copy_(values)
            return
        rows = row_slices(self.shard.parameter, self.shard.first_row, values)
        for piece, (_, block) in zip(self.pieces, rows, strict=True):
            store(piece.states[name], block.tensor, piece.place, step.number, upper=True)

    def copy_master(self) -> None:
        """The weights become the master's values."""
        if self.own_master:
            self.shard.param_rows.copy_(self.master)


class Rule(ABC):
    """How weights follow from gradients. It is made from the configuration alone: the memory plan asks it, too.

    ``whole``: kinds of parameters whose matrices it updates whole; no shard has only some of their rows then.
    """

    whole: Collection[str] = ()

    def __init__(self, config: OptimizerConfig) -> None:
        self.config = config
        self.slots: Sequence[Slot] = ()

    @abstractmethod
    def states(self, spec: ParamSpec) -> tuple[State, ...]:
        """What it keeps beside a parameter."""

    def start(self, slots: Sequence[Slot], grid: Grid) -> None:
        """Before the first step: what it is to update on this rank."""
        self.slots = slots
        self.grid = grid

    def update(self, step: Step) -> None:
        """One step on masters, states and weights; nothing waits for the device."""
        for slot in self.slots:
            self.update_slot(slot, step)
            slot.copy_master()

    def update_slot(self, slot: Slot, step: Step) -> None:
        """The same for the master and the states of one shard; a rule has this or an ``update`` of its own."""
        raise NotImplementedError


def rule_of(config: OptimizerConfig) -> Rule:
    """The rule that ``--optimizer`` names, with the parameters given beside it.

    Raises:
        ConfigError: there is none, or it takes no such parameters.
    """
    rule: Rule = OPTIMIZERS.make(config.optimizer, "--optimizer", config)
    return rule


def make_slot(shard: Shard, states: Sequence[State], seed: int) -> Slot:
    """The state of a shard, zeros but for the master.

    The rows of a fused parameter are those of several named tensors. All that has n rows, states as well, is cut at the
    same places, into m₁ + m₂ + … = n rows; a state per row, (n,), is not cut.

    Args:
        seed: of stochastic rounding.
    """
    rows = shard.param_rows
    if any(state.per_row and state.dtype != torch.float32 for state in states):
        raise ValueError(f"of {[state.name for state in states]} some are per row and not fp32")
    master = rows if rows.dtype == torch.float32 else rows.float()
    held = {s.name: torch.zeros(s.shape(rows.shape), dtype=s.dtype, device=rows.device) for s in states}
    by_element = {state.name: held[state.name] for state in states if not state.per_row}
    tensors = (rows, master, shard.grad_rows, *by_element.values())
    pieces = []
    for found in zip(*(row_slices(shard.parameter, shard.first_row, tensor) for tensor in tensors), strict=True):
        piece, block = found[0]
        views = [view.tensor for _, view in found]
        place = Place.of(piece.name, seed, block.offset, block.tensor.shape)
        named = dict(zip(by_element, views[3:], strict=True))
        pieces.append(SlotPiece(views[0], views[1], views[2], named, place, spec_of(shard.parameter).decay))
    return Slot(shard, master, held, tuple(pieces))
