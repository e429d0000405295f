"""When everything of a pipeline schedule happens, given what each pass costs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from steel_megatron.parallel.pipeline.actions import Action, Kind, Schedule, ScheduleError, steps, transfer_of
from steel_megatron.parallel.pipeline.passes import Costs


class Span(NamedTuple):
    """A pass with its time."""

    action: Action
    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """The passes of every rank in time."""

    schedule: Schedule
    spans: tuple[tuple[Span, ...], ...]

    @property
    def length(self) -> float:
        """From the start to the end of the last pass, over all ranks."""
        return max(row[-1].end for row in self.spans)

    def busy(self, rank: int) -> float:
        """The time in which a rank computes."""
        return sum(span.end - span.start for span in self.spans[rank])

    @property
    def bubble(self) -> float:
        """Share of the ranks' time in which nothing is computed, 0 to 1. What unequal stages lose counts in it."""
        return 1.0 - sum(map(self.busy, range(len(self.spans)))) / (len(self.spans) * self.length)

    @property
    def title(self) -> str:
        """One line: the schedule, its size, its bubble."""
        schedule = self.schedule
        chunks = f" × {schedule.chunks} chunks" * (schedule.chunks > 1)
        size = f"{schedule.ranks} ranks{chunks}, {schedule.micro_batches} micro-batches"
        return f"{schedule.name}: {size}, bubble {self.bubble:.1%}"


def simulate(schedule: Schedule, costs: Costs) -> Timeline:
    """Runs a schedule on paper.

    A rank has two engines, as a GPU with NCCL has: passes run one after the other, and beside them message batches do.
    A batch is posted when the passes before it in the list are done. A message takes ``costs.transfer`` from when both
    its ends are posted, and a batch ends with the last of its messages. A pass waits for the batch with its input.

    Raises:
        ScheduleError: some of it waits for ever.
    """
    graph = _Graph()
    passes: list[list[tuple[Action, int]]] = []
    for rank, actions in enumerate(schedule.actions):
        last_pass = last_batch = graph.add(0.0)
        arrivals: dict[Action, int] = {}  # a pass → the batch with its input
        passes.append([])
        for step in steps(actions):
            action = step[0]
            if not action.kind.communicates:
                cost = costs.of(action.kind, schedule.placement[rank][action.chunk])
                last_pass = graph.add(cost, last_pass, *([arrivals[action]] if action in arrivals else []))
                passes[-1].append((action, last_pass))
                continue
            posted = graph.add(0.0, last_pass, last_batch)
            last_batch = graph.add(0.0, posted)
            for action in step:
                message = graph.named((transfer_of(schedule.placement, rank, action), action.round), costs.transfer)
                graph.link(posted, message)
                graph.link(message, last_batch)
                if action.kind in _CONSUMERS:
                    arrivals[Action(_CONSUMERS[action.kind], action.chunk, action.micro_batch)] = last_batch
    ends = graph.ends()
    stuck = [f"rank {rank} at {action}" for rank, row in enumerate(passes) for action, node in row if node not in ends]
    if stuck:
        raise ScheduleError(f"{schedule.name} never comes to {len(stuck)} passes: {', '.join(stuck[:4])} …")
    spans = tuple(tuple(Span(a, ends[node] - graph.costs[node], ends[node]) for a, node in row) for row in passes)
    return Timeline(schedule, spans)


_CONSUMERS = {Kind.RECEIVE_ACTIVATION: Kind.FORWARD, Kind.RECEIVE_GRADIENT: Kind.BACKWARD}


class _Graph:
    """Things that take time and start when all that lead to them have ended."""

    def __init__(self) -> None:
        self.costs: list[float] = []
        self._followers: list[list[int]] = []
        self._names: dict[object, int] = {}

    def add(self, cost: float, *before: int) -> int:
        self.costs.append(cost)
        self._followers.append([])
        for node in before:
            self.link(node, len(self.costs) - 1)
        return len(self.costs) - 1

    def named(self, name: object, cost: float) -> int:
        """The node of that name."""
        if name not in self._names:
            self._names[name] = self.add(cost)
        return self._names[name]

    def link(self, before: int, after: int) -> None:
        self._followers[before].append(after)

    def ends(self) -> dict[int, float]:
        """The end of each node; those in a circle, or after one, are missing."""
        open_before = [0] * len(self.costs)
        for node in (node for followers in self._followers for node in followers):
            open_before[node] += 1
        starts = [0.0] * len(self.costs)
        ready = deque(node for node, count in enumerate(open_before) if count == 0)
        ends: dict[int, float] = {}
        while ready:
            node = ready.popleft()
            ends[node] = starts[node] + self.costs[node]
            for follower in self._followers[node]:
                starts[follower] = max(starts[follower], ends[node])
                open_before[follower] -= 1
                if open_before[follower] == 0:
                    ready.append(follower)
        return ends
