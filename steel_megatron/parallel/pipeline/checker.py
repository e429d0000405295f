"""Proves of any schedule, without a process, that it computes everything once, cannot hang and keeps its memory."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from steel_megatron.parallel.pipeline.actions import (
    Action,
    Kind,
    Schedule,
    ScheduleError,
    Transfer,
    owners,
    steps,
    transfer_of,
)
from steel_megatron.parallel.pipeline.passes import Pass, needed_pass

Moves = list[Transfer | None]  # of a rank's list: what its communication moves, None for a pass


@dataclass(frozen=True)
class Peaks:
    """For each rank: the most graphs kept at one time, and the most received tensors that no pass has taken yet."""

    live: tuple[int, ...]
    waiting: tuple[int, ...]


def check_schedule(schedule: Schedule) -> Peaks:
    """Goes through every rank's list.

    Raises:
        ScheduleError: a micro-batch does not pass a chunk exactly once; a pass comes before what it needs; a send or
            receive is missing, too many or of another round than its other end; ranks would wait for one another for
            ever if messages were sent one at a time and blocked both ends; or a rank keeps more graphs than promised.
    """
    owner = owners(schedule.placement)
    if len(schedule.actions) != schedule.ranks or len(schedule.peak_live) != schedule.ranks:
        raise ScheduleError(f"{schedule.name}: lists for {len(schedule.actions)} of {schedule.ranks} ranks")
    for rank in range(schedule.ranks):
        _check_once(schedule, rank)
        _check_rounds(schedule, rank)
    moves = [
        [transfer_of(schedule.placement, rank, action) if action.kind.communicates else None for action in actions]
        for rank, actions in enumerate(schedule.actions)
    ]
    for rank in range(schedule.ranks):
        _check_needs(schedule, rank, moves[rank], owner)
    _check_pairs(schedule, moves)
    _check_blocking(schedule, moves)
    peaks = Peaks(*zip(*(_peaks(schedule, rank) for rank in range(schedule.ranks)), strict=True))
    for rank, (live, promised) in enumerate(zip(peaks.live, schedule.peak_live, strict=True)):
        if live > promised:
            raise ScheduleError(f"{schedule.name}: rank {rank} keeps {live} graphs at one time, not {promised}")
    return peaks


def _check_once(schedule: Schedule, rank: int) -> None:
    kinds = [Kind.FORWARD]
    kinds += [Kind.BACKWARD] * schedule.trains + [Kind.WEIGHT_GRADIENT] * schedule.splits_backward
    wanted = Counter((k, c, i) for k in kinds for c in range(schedule.chunks) for i in range(schedule.micro_batches))
    found = Counter(action[:3] for action in schedule.actions[rank] if not action.kind.communicates)
    if found != wanted:
        key, count = next((key, found[key]) for key in [*wanted, *found] if found[key] != wanted[key])
        raise ScheduleError(f"{schedule.name}: rank {rank} has {Action(*key)} {count} times, not {wanted[key]}")


def _check_needs(schedule: Schedule, rank: int, moves: Moves, owner: list[tuple[int, int]]) -> None:
    """Walks a rank's list with the set of what has been computed or received, and of what is still to be sent."""
    have: set[Pass] = set()  # those whose tensors are there
    unsent: set[Transfer] = set()
    last = schedule.stages - 1
    for action, move in zip(schedule.actions[rank], moves, strict=True):
        kind, chunk, micro_batch = action[:3]
        if move is None:
            stage = schedule.placement[rank][chunk]
            missing = not have.issuperset(_needs(kind, stage, micro_batch, last))
            have.add((kind, stage, micro_batch))
            target = stage + 1 if kind is Kind.FORWARD else stage - 1
            if kind is not Kind.WEIGHT_GRADIENT and 0 <= target <= last and owner[target][0] != rank:
                unsent.add(Transfer(rank, owner[target][0], kind, stage, micro_batch))
        elif kind.sends:
            missing = move not in unsent
            unsent.discard(move)
        else:
            made = (move.kind, move.stage, micro_batch)
            missing = made in have or not 0 <= move.stage <= last or owner[move.stage][0] != action.peer
            have.add(made)
        if missing:
            raise ScheduleError(f"{schedule.name}: rank {rank} comes to {action} without what it needs")
    if unsent:
        raise ScheduleError(f"{schedule.name}: rank {rank} never sends {sorted(unsent, key=str)[0]}")


def _needs(kind: Kind, stage: int, micro_batch: int, last: int) -> Iterator[Pass]:
    if (needed := needed_pass(kind, stage, micro_batch, last + 1)) is not None:
        yield needed
    if kind is Kind.BACKWARD:
        yield Kind.FORWARD, stage, micro_batch


def _check_rounds(schedule: Schedule, rank: int) -> None:
    rounds = [step[0].round for step in steps(schedule.actions[rank]) if step[0].kind.communicates]
    if any(later <= earlier for earlier, later in itertools.pairwise(rounds)):
        raise ScheduleError(f"{schedule.name}: the rounds of rank {rank} do not ascend")


def _check_pairs(schedule: Schedule, moves: list[Moves]) -> None:
    """Between two ranks, each way, what is sent is what is received, in the same order and rounds."""
    sent: dict[tuple[int, int], list[tuple[Transfer, int]]] = {}
    received: dict[tuple[int, int], list[tuple[Transfer, int]]] = {}
    for actions, row in zip(schedule.actions, moves, strict=True):
        for action, move in zip(actions, row, strict=True):
            if move is not None:
                ends = sent if action.kind.sends else received
                ends.setdefault((move.sender, move.receiver), []).append((move, action.round))
    for pair in {*sent, *received}:
        if sent.get(pair) != received.get(pair):
            raise ScheduleError(f"{schedule.name}: sends and receives from rank {pair[0]} to {pair[1]} do not match")


def _check_blocking(schedule: Schedule, moves: list[Moves]) -> None:
    """Runs the lists in the worst case: a message blocks both its ends until both are there, and nothing is batched."""
    position = [0] * schedule.ranks
    moving = list(range(schedule.ranks))
    while moving:
        rank = moving.pop()
        own = moves[rank]
        while position[rank] < len(own):
            move = own[position[rank]]
            if move is not None:
                peer = move.receiver if move.sender == rank else move.sender
                if position[peer] == len(moves[peer]) or moves[peer][position[peer]] != move:
                    break
                position[peer] += 1
                moving.append(peer)
            position[rank] += 1
    stuck = [
        f"rank {rank} at {actions[position[rank]]}"
        for rank, actions in enumerate(schedule.actions)
        if position[rank] < len(actions)
    ]
    if stuck:
        raise ScheduleError(f"{schedule.name}: deadlock, {'; '.join(stuck)}")


def _peaks(schedule: Schedule, rank: int) -> tuple[int, int]:
    last = Kind.WEIGHT_GRADIENT if schedule.splits_backward else Kind.BACKWARD
    live = most_live = waiting = most_waiting = 0
    received: set[tuple[Kind, int, int]] = set()
    trains = schedule.trains
    for action in schedule.actions[rank]:
        kind, chunk, micro_batch = action[:3]
        if kind in _TAKEN_BY:
            received.add((_TAKEN_BY[kind], chunk, micro_batch))
            waiting += 1
        elif (kind, chunk, micro_batch) in received:
            waiting -= 1
        live += (kind is Kind.FORWARD and trains) - (kind is last)
        most_live, most_waiting = max(most_live, live + (kind is last)), max(most_waiting, waiting)
    return most_live, most_waiting


_TAKEN_BY = {Kind.RECEIVE_ACTIVATION: Kind.FORWARD, Kind.RECEIVE_GRADIENT: Kind.BACKWARD}
