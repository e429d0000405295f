"""The micro-batches of a step, for the chunks of one rank."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_END = object()


class MicroBatches:
    """Micro-batches by number, read from an iterable when first asked for and dropped after their last use."""

    def __init__(self, source: Iterable[Any], count: int, uses: int) -> None:
        self._source = iter(source)
        self._count = count
        self._uses = uses
        self._read = 0
        self._held: dict[int, list[Any]] = {}  # number → the micro-batch, uses left

    def take(self, number: int) -> Any:
        """The micro-batch, for one of its uses."""
        while self._read <= number:
            item = next(self._source, _END)
            if item is _END:
                raise ValueError(f"{self._read} micro-batches for a schedule of {self._count}")
            self._held[self._read] = [item, self._uses]
            self._read += 1
        held = self._held[number]
        held[1] -= 1
        if held[1] == 0:
            del self._held[number]
        return held[0]

    def finish(self) -> None:
        """Raises ValueError if the source has more."""
        if next(self._source, _END) is not _END:
            raise ValueError(f"more micro-batches than the {self._count} of the schedule")
