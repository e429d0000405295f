"""What this process is at: the collective that its main thread waits in, or the one that it came to last.

Written by the main thread at every collective, read by the watch (parallel/processes/watch.py) once a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Operation(NamedTuple):
    """``ranks``: those that take part, this one among them. ``since``: time.monotonic() of its start or its waiting."""

    what: str
    axis: str
    ranks: tuple[int, ...]
    place: str
    since: float
    waiting: bool

    def __str__(self) -> str:
        with_whom = f" over {self.axis} ({named_ranks(self.ranks)})" if len(self.ranks) > 1 else ""
        return f"{self.what}{with_whom}{', ' if self.place else ''}{self.place}"


_place = ""
_current = Operation("the start of the run", "", (), "", time.monotonic(), False)


def at(place: str) -> None:
    """Where in the run the collectives from here on are, as ``step 12``."""
    global _place
    _place = place


def queued(what: str, axis: str, ranks: tuple[int, ...]) -> Operation:
    """Notes that a collective has been queued; returns it, for :func:`wait_begins`."""
    global _current
    _current = Operation(what, axis, ranks, _place, time.monotonic(), False)
    return _current


def wait_begins(operation: Operation) -> None:
    """From here on the main thread waits for an operation."""
    global _current
    _current = operation._replace(since=time.monotonic(), waiting=True)


def wait_ends() -> None:
    """The wait is over. Not to be called after an exception: what failed is still what this process is at."""
    global _current
    _current = _current._replace(since=time.monotonic(), waiting=False)


@contextmanager
def waiting(what: str, axis: str = "", ranks: tuple[int, ...] = ()) -> Iterator[None]:
    """A call that waits for other ranks, or for what they have a part in."""
    wait_begins(queued(what, axis, ranks))
    yield
    wait_ends()


def current() -> Operation:
    return _current


def named_ranks(ranks: tuple[int, ...]) -> str:
    """``ranks 0 to 7``, ``ranks 0, 4, 8, 12``, ``rank 3``."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) > 2 and ranks == tuple(range(ranks[0], ranks[-1] + 1)):
        return f"ranks {ranks[0]} to {ranks[-1]}"
    return f"ranks {', '.join(map(str, ranks))}"
