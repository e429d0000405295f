"""Best-fit-decreasing bin packing of many lengths of few different values.

The longest pieces come first, and each goes to the open bin that it leaves the least room in, or to a new bin (Johnson,
"Near-optimal bin packing algorithms", 1973; for training samples: Ding et al., "Fewer Truncations Improve Language
Modeling", 2024). Pieces of one length are placed together, so the work grows with the number of different lengths and
of different rooms left, not with the number of pieces times bins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_fit(lengths: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """The bin of each piece; bins are numbered from 0 without a gap.

    Args:
        lengths: from 1 to ``capacity``, in any order.
        capacity: of a bin.
    """
    order = np.argsort(-lengths, kind="stable")
    bins = np.empty(len(lengths), np.int64)
    values, counts = np.unique(lengths, return_counts=True)
    room = _Rooms(capacity)
    done = 0
    for length, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        chosen = room.place(length, count)
        bins[order[done : done + count]] = chosen
        done += count
    return bins


class _Rooms:
    """The bins by the room that is left in them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.bins = 0
        self.by_room: dict[int, list[NDArray[np.int64]]] = {}
        self.present = 0  # bit r: a bin has room r

    def place(self, length: int, count: int) -> NDArray[np.int64]:
        """The bins of ``count`` pieces of one length, one piece after the other by best fit."""
        chosen: list[NDArray[np.int64]] = []
        while count:
            fitting = self.present >> length
            if fitting:
                # The least room that is enough. A bin that took a piece has less room still, so it takes the next
                # ones too, until it is too full.
                room = length + (fitting & -fitting).bit_length() - 1
                bins = self._take(room)
            else:
                room = self.capacity
                needed = -(-count // (room // length))
                bins = np.arange(self.bins, self.bins + needed)
                self.bins += needed
            each = room // length
            full = min(len(bins), count // each)
            chosen.append(np.repeat(bins[:full], each))
            self._put(room - each * length, bins[:full])
            count -= full * each
            rest = bins[full:]
            if count and len(rest):
                chosen.append(np.repeat(rest[:1], count))
                self._put(room - count * length, rest[:1])
                count, rest = 0, rest[1:]
            self._put(room, rest)
        return np.concatenate(chosen)

    def _take(self, room: int) -> NDArray[np.int64]:
        self.present &= ~(1 << room)
        return np.sort(np.concatenate(self.by_room.pop(room)))  # of equal rooms the oldest bin's comes first

    def _put(self, room: int, bins: NDArray[np.int64]) -> None:
        if room and len(bins):
            self.by_room.setdefault(room, []).append(bins)
            self.present |= 1 << room
