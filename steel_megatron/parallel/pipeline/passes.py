"""When the passes of a pipeline run if no message ever waits for another."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from steel_megatron.parallel.pipeline.actions import Action, Kind, Placement, ScheduleError, owners

Pass = tuple[Kind, int, int]  # kind, virtual stage, micro-batch


@dataclass(frozen=True)
class Costs:
    """Time of each virtual stage's passes, above 0, and of a transfer between ranks; in any unit.

    In a schedule that splits the backward pass, ``backward`` is that of the input gradient alone.
    """

    forward: tuple[float, ...]
    backward: tuple[float, ...]
    weight_gradient: tuple[float, ...]
    transfer: float = 0.0

    @classmethod
    def uniform(
        cls, stages: int, forward: float = 1, backward: float = 2, weight_gradient: float = 1, transfer: float = 0
    ) -> Costs:
        """The same for every virtual stage."""
        return cls((forward,) * stages, (backward,) * stages, (weight_gradient,) * stages, transfer)

    def of(self, kind: Kind, stage: int) -> float:
        """The time of a pass."""
        if kind is Kind.FORWARD:
            return self.forward[stage]
        return self.backward[stage] if kind is Kind.BACKWARD else self.weight_gradient[stage]


def needed_pass(kind: Kind, stage: int, micro_batch: int, stages: int) -> Pass | None:
    """What a pass takes its tensor from: the stage before (forward) or after (backward); None for the first forward."""
    if kind is Kind.FORWARD:
        return (kind, stage - 1, micro_batch) if stage > 0 else None
    if kind is Kind.BACKWARD and stage < stages - 1:
        return (kind, stage + 1, micro_batch)
    return (Kind.FORWARD if kind is Kind.BACKWARD else Kind.BACKWARD, stage, micro_batch)


def pass_times(
    orders: Sequence[Sequence[Action]], placement: Placement, costs: Costs
) -> list[list[tuple[float, float]]]:
    """(start, end) of every pass: as soon as its rank is free and what it needs is there.

    What comes from another rank arrives ``costs.transfer`` after it was made. No placing of messages is faster.

    Raises:
        ScheduleError: some passes wait for one another.
    """
    owner = owners(placement)
    times: list[list[tuple[float, float]]] = [[] for _ in orders]
    ends: dict[Pass, float] = {}
    waiting: dict[Pass, int] = {}  # a pass not yet done → the rank that needs it
    ready = deque(range(len(orders)))
    while ready:
        rank = ready.popleft()
        order, done = orders[rank], times[rank]
        while len(done) < len(order):
            kind, chunk, micro_batch = order[len(done)][:3]
            stage = placement[rank][chunk]
            needed = needed_pass(kind, stage, micro_batch, len(owner))
            arrival = 0.0
            if needed is not None:
                if needed not in ends:
                    waiting[needed] = rank
                    break
                arrival = ends[needed] + (costs.transfer if owner[needed[1]][0] != rank else 0.0)
            start = max(done[-1][1] if done else 0.0, arrival)
            end = start + costs.of(kind, stage)
            done.append((start, end))
            ends[kind, stage, micro_batch] = end
            if (kind, stage, micro_batch) in waiting:
                ready.append(waiting.pop((kind, stage, micro_batch)))
    stuck = [f"rank {r} at {o[len(t)]}" for r, (o, t) in enumerate(zip(orders, times, strict=True)) if len(t) < len(o)]
    if stuck:
        raise ScheduleError(f"passes wait for one another: {', '.join(stuck)}")
    return times
