"""A run in which ranks wait for one that does not come: which one that is, and what all are at.

Each process says once a second, in the run's store, what its main thread is at (operations.py beside this file). Who
has waited too long looks at what all said, twice: a rank that said nothing new in between does not run at all (stopped,
swapping, its machine gone); one that did, and waits in nothing, or in another collective than its peers, is what they
wait for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from steel_megatron.config import StalledRunError
from steel_megatron.parallel.processes.operations import Operation, named_ranks

NAMED = 4  # so many ranks or operations the error tells of


@dataclass(frozen=True)
class Sign:
    """A sign of life of a rank. ``seconds``: since when it is at ``what``, as it knew then."""

    beat: int
    clock: str  # its machine's
    host: str
    process: int
    what: str
    ranks: tuple[int, ...]
    waiting: bool
    seconds: float

    @classmethod
    def of(cls, operation: Operation, beat: int, host: str, process: int) -> Sign:
        seconds = time.monotonic() - operation.since
        clock = time.strftime("%H:%M:%S")
        return cls(beat, clock, host, process, str(operation), operation.ranks, operation.waiting, seconds)

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Sign:
        fields = json.loads(text)
        return cls(**{**fields, "ranks": tuple(fields["ranks"])})


def silent_ranks(world_size: int, before: Mapping[int, Sign], after: Mapping[int, Sign]) -> list[int]:
    """Ranks that gave no new sign of life between two looks."""
    heard = [rank for rank in after if rank not in before or before[rank].beat != after[rank].beat]
    return [rank for rank in range(world_size) if rank not in heard]


def stall_error(
    rank: int, minutes: float, signs: Mapping[int, Sign], silent: Sequence[int], recorded: str = ""
) -> StalledRunError:
    """Who is waited for, and who waits in what.

    Args:
        rank: that has waited for ``minutes``.
        signs: the last of each rank.
        silent: the ranks that do not run.
        recorded: what the library's flight recorder says of ``rank``.
    """
    own = signs[rank]
    late = list(silent) or _not_there(rank, signs)
    told = [_what_is_with(other, signs.get(other), silent) for other in late[:NAMED]]
    if len(late) > NAMED:
        told.append(f"so are {len(late) - NAMED} more ranks")
    waiting: dict[str, list[int]] = {}
    for other, sign in signs.items():
        if sign.waiting and other not in late:
            waiting.setdefault(sign.what, []).append(other)
    waiting.setdefault(own.what, [rank])
    told += [f"{named_ranks(tuple(sorted(ranks)))} in {what}" for what, ranks in list(waiting.items())[:NAMED]]
    first = len(told) - min(len(waiting), NAMED)
    told[first] = f"waiting, since {own.seconds:.0f} s: {told[first]}"
    if recorded:
        told.append(f"unfinished on rank {rank}: {recorded}")
    fix = "give the same command again, which goes on from the last checkpoint; "
    if silent:
        fix += "first see why that process does not run: stopped, out of memory, its machine or GPU hangs"
    else:
        fix += "a rank that is only slow takes a higher --distributed-timeout-minutes"
    return StalledRunError(
        "; ".join(told),
        rule=f"a collective ends within --distributed-timeout-minutes {minutes:g}, once all its ranks have come to it",
        fix=fix,
    )


def _not_there(rank: int, signs: Mapping[int, Sign]) -> list[int]:
    """Ranks of the collective that ``rank`` waits in, which run but wait in nothing, or else in something else."""
    own = signs[rank]
    peers = [other for other in (own.ranks or signs) if other in signs and other != rank]
    return [other for other in peers if not signs[other].waiting] or [
        other for other in peers if signs[other].what != own.what
    ]


def _what_is_with(rank: int, sign: Sign | None, silent: Sequence[int]) -> str:
    if sign is None:
        return f"rank {rank} has given no sign of life"
    who = f"rank {rank} on {sign.host} (process {sign.process})"
    if rank in silent:
        return f"{who} does not answer; at {sign.clock}, the last time that it did, it was at {sign.what}"
    if sign.waiting:
        return f"{who} waits elsewhere: in {sign.what}"
    return f"{who} runs, but has not come; its last operation, {sign.seconds:.0f} s ago, was {sign.what}"
