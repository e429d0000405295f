"""Samples that a run leaves out: which number the p-th sample of the run has, by arithmetic alone.

The order (:mod:`steel_megatron.samples.order`) stays as it is; its samples in the ranges are passed over. The p-th
sample that a run uses is the p-th number that is in no range, so it does not depend on batches, ranks or stops.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field

from steel_megatron.config.sample_ranges import Ranges
from steel_megatron.samples.order import Order


@dataclass(frozen=True)
class Skips:
    """``ranges`` ascend and do not touch, as :func:`steel_megatron.config.sample_ranges.parse_ranges` has them."""

    ranges: Ranges = ()
    _places: list[int] = field(init=False)  # numbers in no range before each range
    _skipped: list[int] = field(init=False)  # numbers in ranges up to the end of each range, and 0 before the first

    def __post_init__(self) -> None:
        skipped, places = [0], []
        for first, last in self.ranges:
            places.append(first - skipped[-1])
            skipped.append(skipped[-1] + last - first)
        object.__setattr__(self, "_places", places)
        object.__setattr__(self, "_skipped", skipped)

    def number(self, place: int) -> int:
        """The number in the order of the run's sample ``place``, both counted from 0."""
        return place + self._skipped[bisect.bisect_right(self._places, place)]

    def place(self, number: int) -> int:
        """How many samples before that number the run uses."""
        passed = bisect.bisect_right(self.ranges, number, key=lambda bounds: bounds[0])
        if passed and number < self.ranges[passed - 1][1]:
            return self._places[passed - 1]
        return number - self._skipped[passed]

    def frontier(self, used: int) -> int:
        """One past the number of the last of ``used`` samples: what the order has from here on is not used yet."""
        return self.number(used - 1) + 1 if used > 0 else 0

    def counts(self, order: Order, used: int) -> dict[str, int]:
        """How many of the first ``used`` samples of the run each source has."""
        end = self.frontier(used)
        counts: Mapping[str, int] = order.counts(end)
        for first, last in self.ranges:
            if first >= end:
                break
            before, after = order.counts(first), order.counts(last)
            counts = {name: count - after[name] + before[name] for name, count in counts.items()}
        return dict(counts)


NO_SKIPS = Skips()
