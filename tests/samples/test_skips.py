"""Samples that are left out, compared with a list from which they are removed."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from helpers.token_arrays import numbered_windows
from steel_megatron.config.sample_ranges import joined
from steel_megatron.samples.batches import BatchReader
from steel_megatron.samples.loader import Loader
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order
from steel_megatron.samples.skips import NO_SKIPS, Skips

RANGES = st.lists(st.tuples(st.integers(0, 120), st.integers(1, 30)), max_size=5).map(
    lambda pairs: joined((first, first + length) for first, length in pairs)
)
LENGTH = 4
SOURCES = {"a": numbered_windows(7, LENGTH), "b": numbered_windows(30, LENGTH, first_token=1000)}
ORDER = Order(5, [Phase.of(0, {"a": 1, "b": 2}), Phase.of(40, {"b": 1})], {"a": 7, "b": 30})


def kept(ranges: tuple[tuple[int, int], ...]) -> list[int]:
    return [n for n in range(400) if not any(first <= n < last for first, last in ranges)]


@given(ranges=RANGES)
def test_numbers_places_and_frontiers(ranges) -> None:
    skips, left = Skips(ranges), kept(ranges)
    assert [skips.number(place) for place in range(200)] == left[:200]
    assert [skips.frontier(used) for used in range(200)] == [0, *(number + 1 for number in left[:199])]
    assert [skips.place(number) for number in range(200)] == [sum(n < number for n in left) for number in range(200)]


@given(ranges=RANGES, used=st.integers(0, 200))
def test_counts_are_of_the_samples_used(ranges, used: int) -> None:
    expected = Counter(ORDER.at(number).source for number in kept(ranges)[:used])
    assert Skips(ranges).counts(ORDER, used) == {name: expected[name] for name in ORDER.names}


@given(ranges=RANGES, later=st.integers(0, 200), length=st.integers(1, 30))
def test_a_range_that_is_still_to_come_changes_nothing_before_it(ranges, later: int, length: int) -> None:
    before, after = Skips(ranges), Skips(joined([*ranges, (later, later + length)]))
    used = before.place(later)
    assert [before.number(place) for place in range(used)] == [after.number(place) for place in range(used)]


def test_every_layout_reads_the_samples_that_are_left() -> None:
    ranges = ((3, 6), (17, 18))
    reader = BatchReader(ORDER, SOURCES, LENGTH, skips=Skips(ranges))
    for dp, micro in itertools.product((1, 2), (1, 2)):
        loaders = [Loader(reader, micro_batch_size=micro, dp_rank=rank, dp_size=dp) for rank in range(dp)]
        seen = []
        for first in (0, 4, 8, 12):
            batches = [batch for loader in loaders for batch in loader.global_batch(first, 4)]
            for batch in batches:
                for number, row in zip(batch.sample_ids_B.tolist(), batch.tokens_BS.tolist(), strict=True):
                    source, _, window = ORDER.at(number)
                    assert row[0] == window * LENGTH + (1000 if source == "b" else 0)
            seen += [number for batch in batches for number in batch.sample_ids_B.tolist()]
        assert seen == kept(ranges)[:16]
        assert sum(loaders[0].reader.counts(16).values()) == 16
        for loader in loaders:
            loader.close()
    assert NO_SKIPS.number(5) == 5
