"""Many pieces packed at once: the same as packing them one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.samples.cutting.best_fit import best_fit


def one_by_one(lengths: list[int], capacity: int) -> Counter[tuple[int, ...]]:
    bins: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        rooms = [(capacity - sum(content), number) for number, content in enumerate(bins)]
        fitting = [room for room in rooms if room[0] >= length]
        if fitting:
            bins[min(fitting)[1]].append(length)
        else:
            bins.append([length])
    return Counter(tuple(sorted(content)) for content in bins)


@given(st.integers(1, 40).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(1, c), max_size=80))))
def test_packing_many_at_once_is_packing_one_by_one(given_: tuple[int, list[int]]) -> None:
    capacity, lengths = given_
    bins = best_fit(np.array(lengths, np.int64), capacity) if lengths else np.empty(0, np.int64)
    contents: dict[int, list[int]] = {}
    for number, length in zip(bins.tolist(), lengths, strict=True):
        contents.setdefault(number, []).append(length)
    assert sorted(contents) == list(range(len(contents)))
    assert Counter(tuple(sorted(content)) for content in contents.values()) == one_by_one(lengths, capacity)
