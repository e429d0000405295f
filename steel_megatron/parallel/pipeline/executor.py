"""Runs any pipeline schedule on this rank's chunks of the model.

Over p ranks, virtual stages s = 0 … p·v - 1 with functions f_s, micro-batch i:

    forward     h_s = f_s(h_{s-1}, i)             h_s (B, S, H): sent (SA), received by the rank of stage s + 1 (RA)
                l_i = f_last(h_{last-1}, i)       the loss, a scalar, stays on the last rank
    backward    dh_{s-1} = (∂f_s/∂h_{s-1})ᵀ dh_s  sent (SG), received by the rank of stage s - 1 (RG)
                dW_s += (∂f_s/∂W_s)ᵀ dh_s         stays; the last stage starts from dl_i = loss_gradient

So one tensor of the hidden states' shape crosses each border between ranks per micro-batch and direction, and nothing
else. With sequence parallel it is this rank's slice (B, S/R, H). Which tensor goes when is the schedule's; see
:mod:`steel_megatron.parallel.pipeline.transfers`. Nothing here reads a value from the device.

What is kept of a forward pass until its backward: the input, and the graph with what its operations saved. Of the
output only the graph's edge is held: when it has been sent, and no operation saved it, its memory is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.pipeline.actions import Action, Kind, Schedule, owners, steps
from steel_megatron.parallel.pipeline.messages import Batch, Mailbox
from steel_megatron.parallel.pipeline.micro_batches import MicroBatches


@dataclass(frozen=True)
class PassSettings:
    """What all forward passes of a global batch have in common."""

    trains: bool  # a backward pass follows each
    loss_gradient: float  # what it starts from: the factor between a micro-batch's loss and what is minimised


class Output(NamedTuple):
    """Of a stage's forward pass."""

    result: (
        Tensor  # hidden states for the next stage; of the last stage, what is wanted: in training the loss, a scalar
    )
    samples: Any = None  # what the last stage tells of the micro-batch's samples besides, without gradients


class Stage(Protocol):
    """A chunk of the model, as the executor sees it."""

    def forward(self, hidden: Tensor | None, micro_batch: Any, settings: PassSettings) -> Output:
        """``hidden`` comes from the stage before; None on the first, which takes its input from the micro-batch."""
        ...


class SplitStage(Stage, Protocol):
    """A chunk whose backward pass can be split, for schedules with weight gradients as actions of their own."""

    def defer_weight_gradients(self) -> AbstractContextManager[Callable[[], None]]:
        """In the context, backward passes compute input gradients only; the callable then does the rest of them."""
        ...


@dataclass(frozen=True)
class Hidden:
    """What crosses from rank to rank: the same on all of them."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Executor:
    """Drives the chunks of one rank.

    Args:
        stages: this rank's chunks, in order.
        grid: the rank grid; messages travel along its ``pp`` axis.

    A collective call on the ``pp`` axis.
    """

    def __init__(self, stages: Sequence[Stage], grid: Grid) -> None:
        self.stages = list(stages)
        self.grid = grid
        self.mailbox = Mailbox(grid.pp, grid.device)

    def run(
        self,
        schedule: Schedule,
        micro_batches: Iterable[Any],
        hidden: Hidden,
        *,
        loss_gradient: float = 1.0,
        before_last_backward: Callable[[int], None] | None = None,
    ) -> list[Output]:
        """One global batch: every forward and, if the schedule has them, every backward pass of this rank's chunks.

        Args:
            schedule: the same on all ranks of the axis; one without backward passes runs without gradients.
            micro_batches: what the stages' forward takes, one for each of the schedule's micro-batches; read as needed.
            hidden: what the stages hand over.
            loss_gradient: what backward starts from.
            before_last_backward: called with a chunk's number before its last backward pass. Then its gradients become
                complete, and their reduction over data parallel may start.

        Returns:
            The last stage's output for each micro-batch, detached, on its rank; an empty list on the others.

        Raises:
            ValueError: schedule, stages and micro-batches do not fit together, or a stage returns another shape.
        """
        if schedule.ranks != self.grid.pp.size or schedule.chunks != len(self.stages):
            raise ValueError(
                f"a schedule for {schedule.ranks} ranks of {schedule.chunks} chunks, "
                f"but there are {self.grid.pp.size} of {len(self.stages)}"
            )
        settings = PassSettings(schedule.trains, loss_gradient)
        run = _Run(self, schedule, micro_batches, hidden, settings, before_last_backward)
        with torch.set_grad_enabled(schedule.trains):
            for step in steps(schedule.actions[self.grid.pp.rank]):
                run.do(step)
        self.mailbox.wait_all()
        run.micro_batches.finish()
        return [run.outputs[number] for number in sorted(run.outputs)]


Place = tuple[int, int]  # chunk, micro-batch
Arrival = tuple[Tensor, Batch | None]  # a tensor, and the batch that brings it if it comes from another rank


@dataclass
class _Kept:
    """A forward pass that waits for its backward."""

    input: Tensor | None
    output: GradientEdge | None  # None: nothing in it can be trained


class _Run:
    """The tensors of one global batch on this rank: all that waits for an action, by (chunk, micro-batch).

    inputs      h_{s-1} (B, S, H)       from its receive, or the rank's own chunk before, to the forward pass
    outgoing    h_s and dh_{s-1}        from the pass that made it to the send, which takes it out
    kept        h_{s-1} and the graph   from the forward to the backward pass
    gradients   dh_s (B, S, H)          from its receive, or the rank's own chunk behind, to the backward pass
    deferred    the rest of a backward  from a backward pass that is split to the action for weight gradients
    outputs     l_i ()                  to the end
    """

    def __init__(
        self,
        executor: Executor,
        schedule: Schedule,
        micro_batches: Iterable[Any],
        hidden: Hidden,
        settings: PassSettings,
        before_last_backward: Callable[[int], None] | None,
    ) -> None:
        self.executor = executor
        self.rank = executor.grid.pp.rank
        self.schedule = schedule
        self.owner = owners(schedule.placement)
        self.micro_batches = MicroBatches(micro_batches, schedule.micro_batches, uses=schedule.chunks)
        self.hidden = hidden
        self.settings = settings
        self.before_last_backward = before_last_backward
        self.backward_left = [schedule.micro_batches] * schedule.chunks
        self.outputs: dict[int, Output] = {}  # of the last stage
        self.inputs: dict[Place, Arrival] = {}
        self.gradients: dict[Place, Arrival] = {}
        self.outgoing: dict[tuple[Kind, int, int], Tensor] = {}
        self.kept: dict[Place, _Kept] = {}
        self.deferred: dict[Place, Callable[[], None]] = {}

    def do(self, step: tuple[Action, ...]) -> None:
        """One pass of a chunk, or all sends and receives that are posted together."""
        kind, chunk, micro_batch = step[0][:3]
        place = (chunk, micro_batch)
        if kind.communicates:
            self.exchange(step)
        elif kind is Kind.FORWARD:
            self.forward(place, self.schedule.placement[self.rank][chunk])
        elif kind is Kind.BACKWARD:
            self.backward(place, self.schedule.placement[self.rank][chunk])
        else:
            self.deferred.pop(place)()

    def exchange(self, step: tuple[Action, ...]) -> None:
        """Queues messages. What is received is waited for where it is used (:meth:`take`): passes may come between."""
        sends, receives, announced = [], [], []
        for kind, chunk, micro_batch, peer, _ in step:
            if kind.sends:
                sends.append((peer, self.outgoing.pop((kind, chunk, micro_batch))))
            else:
                # A tensor of its own: as a view of a larger one it would keep all of that.
                device = self.executor.grid.device
                buffer = torch.empty(self.hidden.shape, dtype=self.hidden.dtype, device=device)
                receives.append((peer, buffer))
                announced.append((kind, (chunk, micro_batch), buffer))
        batch = self.executor.mailbox.post(sends, receives)
        for kind, place, buffer in announced:
            (self.inputs if kind is Kind.RECEIVE_ACTIVATION else self.gradients)[place] = (buffer, batch)

    def take(self, arrived: dict[Place, Arrival], place: Place) -> Tensor:
        """What has arrived for a pass; the device waits for the message that brings it."""
        tensor, batch = arrived.pop(place)
        if batch is not None:
            self.executor.mailbox.wait(batch)
        return tensor

    def forward(self, place: Place, stage: int) -> None:
        """h_s = f_s(h_{s-1}, i): keeps the input and the graph's edge, hands h_s on; the last one keeps its output."""
        chunk, micro_batch = place
        hidden = self.take(self.inputs, place) if stage > 0 else None
        if hidden is not None:
            hidden.requires_grad_(self.schedule.trains)
        batch = self.micro_batches.take(micro_batch)
        output, samples = self.executor.stages[chunk].forward(hidden, batch, self.settings)
        if self.schedule.trains:
            self.kept[place] = _Kept(hidden, get_gradient_edge(output) if output.requires_grad else None)
        if stage == self.schedule.stages - 1:
            self.outputs[micro_batch] = Output(output.detach().clone(), samples)  # a copy: it may view something large
            return
        if output.shape != self.hidden.shape or output.dtype != self.hidden.dtype:
            raise ValueError(
                f"stage {stage} returned {tuple(output.shape)} {output.dtype}, "
                f"but {self.hidden.shape} {self.hidden.dtype} is handed over"
            )
        self.hand_over(Kind.SEND_ACTIVATION, place, output.detach(), stage + 1, self.inputs)

    def backward(self, place: Place, stage: int) -> None:
        """dh_{s-1} from dh_s, or from the loss's gradient, and dW_s, which stays; hands dh_{s-1} (B, S, H) back."""
        chunk, micro_batch = place
        if stage == self.schedule.stages - 1:
            gradient = torch.full_like(self.outputs[micro_batch].result, self.settings.loss_gradient)
        else:
            gradient = self.take(self.gradients, place)
        kept = self.kept.pop(place)
        self.backward_left[chunk] -= 1
        if self.backward_left[chunk] == 0 and self.before_last_backward is not None:
            self.before_last_backward(chunk)
        if self.schedule.splits_backward:
            with cast("SplitStage", self.executor.stages[chunk]).defer_weight_gradients() as rest:
                differentiate(kept.output, gradient)
            self.deferred[place] = rest
        else:
            differentiate(kept.output, gradient)
        if kept.input is not None:
            passed_on = torch.zeros_like(kept.input) if kept.input.grad is None else kept.input.grad
            self.hand_over(Kind.SEND_GRADIENT, place, passed_on, stage - 1, self.gradients)

    def hand_over(self, send: Kind, place: Place, tensor: Tensor, stage: int, arrived: dict[Place, Arrival]) -> None:
        """To the rank of ``stage`` with the schedule's next send, or to this rank's own chunk."""
        rank, chunk = self.owner[stage]
        if rank == self.rank:
            arrived[chunk, place[1]] = (tensor, None)
        else:
            self.outgoing[(send, *place)] = tensor.contiguous()


def differentiate(output: GradientEdge | None, gradient: Tensor) -> None:
    """Backward from an output that need not be there any more."""
    if output is not None:
        torch.autograd.backward(output, gradient)
