"""What a pipeline schedule is made of: for each rank a list of actions.

Letters: p ranks (stages of the pipeline), v chunks of the model per rank, m micro-batches. The model is cut into p·v
virtual stages, numbered in the order of the forward pass; virtual stage s > 0 takes the output of s - 1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What an action does; the value is the letter it is printed with."""

    FORWARD = "F"
    BACKWARD = "B"  # the gradient of the chunk's input; of its weights too, unless the schedule has W actions
    WEIGHT_GRADIENT = "W"
    SEND_ACTIVATION = "SA"  # the output of this chunk's F
    RECEIVE_ACTIVATION = "RA"  # the input of this chunk's F
    SEND_GRADIENT = "SG"  # the input gradient of this chunk's B
    RECEIVE_GRADIENT = "RG"  # the output gradient of this chunk's B

    def __init__(self, letters: str) -> None:
        self.communicates = len(letters) == 2
        self.sends = letters in ("SA", "SG")

    __hash__ = object.__hash__  # members are looked up millions of times in the checks, by identity


class Action(NamedTuple):
    """One action of one rank on one micro-batch.

    Communication has a ``peer`` (the other rank) and a ``round``. What a rank sends and receives in one round is one
    message batch; both ends of a transfer have it in the same round, and every rank goes through rounds in ascending
    order. Neighbours in a rank's list that communicate in the same round belong together.
    """

    kind: Kind
    chunk: int
    micro_batch: int
    peer: int = -1
    round: int = -1

    def __str__(self) -> str:
        ends = f" {'to' if self.kind.sends else 'from'} rank {self.peer}, round {self.round}"
        return f"{self.kind.value}(chunk {self.chunk}, micro-batch {self.micro_batch})" + ends * self.kind.communicates


class ScheduleError(ValueError):
    """A schedule that cannot run, or breaks what it promises."""


Placement = tuple[tuple[int, ...], ...]  # [rank][chunk] → virtual stage


def loop_placement(ranks: int, chunks: int) -> Placement:
    """Virtual stage s is chunk s // p of rank s mod p, as Megatron's interleaved pipeline has it."""
    return tuple(tuple(chunk * ranks + rank for chunk in range(chunks)) for rank in range(ranks))


@dataclass(frozen=True)
class Schedule:
    """A pipeline's work for one global batch.

    Attributes:
        name: what it is called on the command line.
        micro_batches: m.
        placement: the virtual stage of every rank's chunks.
        actions: for each rank what it does, in order.
        peak_live: the promise: for each rank the most forward passes of a chunk whose graph is kept at one time.
    """

    name: str
    micro_batches: int
    placement: Placement
    actions: tuple[tuple[Action, ...], ...]
    peak_live: tuple[int, ...]

    @property
    def ranks(self) -> int:
        return len(self.placement)

    @property
    def chunks(self) -> int:
        return len(self.placement[0])

    @property
    def stages(self) -> int:
        """Virtual stages: ranks × chunks."""
        return self.ranks * self.chunks

    @functools.cached_property
    def trains(self) -> bool:
        """Whether it has backward passes."""
        return any(action.kind is Kind.BACKWARD for action in self.actions[0])

    @functools.cached_property
    def splits_backward(self) -> bool:
        """Whether weight gradients are actions of their own."""
        return any(action.kind is Kind.WEIGHT_GRADIENT for action in self.actions[0])


def owners(placement: Placement) -> list[tuple[int, int]]:
    """(rank, chunk) of every virtual stage.

    Raises:
        ScheduleError: the placement is not one chunk per virtual stage.
    """
    found = {stage: (rank, chunk) for rank, row in enumerate(placement) for chunk, stage in enumerate(row)}
    count = sum(map(len, placement))
    if sorted(found) != list(range(count)) or len({len(row) for row in placement}) != 1:
        raise ScheduleError(f"placement {placement} does not give each of {count} virtual stages one rank and chunk")
    return [found[stage] for stage in range(count)]


class Transfer(NamedTuple):
    """A tensor on its way: between which ranks, and which pass made it."""

    sender: int
    receiver: int
    kind: Kind  # FORWARD or BACKWARD
    stage: int  # virtual stage of that pass
    micro_batch: int


def transfer_of(placement: Placement, rank: int, action: Action) -> Transfer:
    """What a rank's communication moves; the same for both of its ends."""
    forward = action.kind in (Kind.SEND_ACTIVATION, Kind.RECEIVE_ACTIVATION)
    stage = placement[rank][action.chunk]
    kind = Kind.FORWARD if forward else Kind.BACKWARD
    if action.kind.sends:
        return Transfer(rank, action.peer, kind, stage, action.micro_batch)
    return Transfer(action.peer, rank, kind, stage - 1 if forward else stage + 1, action.micro_batch)


def steps(actions: Iterable[Action]) -> list[tuple[Action, ...]]:
    """What is done at once: each pass alone, and the messages of one round together."""
    found: list[list[Action]] = []
    for action in actions:
        if found and action.kind.communicates and found[-1][0].round == action.round:
            found[-1].append(action)
        else:
            found.append([action])
    return [tuple(step) for step in found]
