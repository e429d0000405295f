from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steel_megatron.config import DataError
from steel_megatron.samples.mixing.mixture import BOUND
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order

NAMES = ["books", "code", "web", "wiki", "百科"]
weights = st.dictionaries(st.sampled_from(NAMES), st.fractions(Fraction(1, 50), 50), min_size=1)


@st.composite
def phase_lists(draw: st.DrawFn, longest: int = 200) -> list[Phase]:
    start, phases = 0, []
    for mixture in draw(st.lists(weights, min_size=1, max_size=4)):
        phases.append(Phase.of(start, mixture))
        start += draw(st.integers(1, longest))
    return phases


window_counts = st.fixed_dictionaries({name: st.integers(1, 40) for name in NAMES})
seeds = st.integers(0, 2**31 - 1)


@given(seeds, phase_lists(), window_counts)
def test_every_window_once_per_epoch_across_phases(seed: int, phases: list[Phase], windows: dict[str, int]) -> None:
    order = Order(seed, phases, windows)
    seen: dict[str, list[tuple[int, int]]] = {name: [] for name in NAMES}
    for sample in range(800):
        place = order.at(sample)
        seen[place.source].append((place.epoch, place.window))
    for name, places in seen.items():
        size = windows[name]
        for epoch in range(-(-len(places) // size)):
            part = places[epoch * size : (epoch + 1) * size]
            assert {e for e, _ in part} == {epoch}
            assert len({w for _, w in part}) == len(part)
            assert all(0 <= window < size for _, window in part)


@given(seeds, phase_lists(), window_counts)
def test_counts_and_their_bound_at_every_prefix(seed: int, phases: list[Phase], windows: dict[str, int]) -> None:
    order = Order(seed, phases, windows)
    seen: Counter[str] = Counter()
    ideal = dict.fromkeys(NAMES, Fraction(0))
    for sample in range(500):
        begun = sum(phase.start <= sample for phase in order.phases)
        for name, share in order.phases[begun - 1].shares.items():
            ideal[name] += share
        seen[order.at(sample).source] += 1
        assert order.counts(sample + 1) == {name: seen[name] for name in order.names}
        # A phase starts its mixture anew, so each phase begun adds its bound.
        assert all(abs(seen[name] - ideal[name]) < BOUND * begun for name in NAMES)


@given(seeds, phase_lists(), window_counts, st.lists(st.integers(0, 1 << 50), max_size=60))
def test_vectorised_is_the_same(seed: int, phases: list[Phase], windows: dict[str, int], far: list[int]) -> None:
    order = Order(seed, phases, windows)
    samples = [*range(120), *far]
    many = order.at_many(np.array(samples))
    got = zip(many.sources.tolist(), many.epochs.tolist(), many.windows.tolist(), strict=True)
    assert [(many.names[source], epoch, window) for source, epoch, window in got] == [order.at(n) for n in samples]


@given(seeds, phase_lists(), window_counts, weights, st.integers(1, 600))
def test_adding_a_phase_changes_nothing_before_it(
    seed: int, phases: list[Phase], windows: dict[str, int], mixture: dict[str, Fraction], gap: int
) -> None:
    added = Phase.of(phases[-1].start + gap, mixture)
    before, after = Order(seed, phases, windows), Order(seed, [*phases, added], windows)
    samples = np.arange(added.start)
    first, second = before.at_many(samples), after.at_many(samples)
    names = np.array(first.names)[first.sources], np.array(second.names)[second.sources]
    assert np.array_equal(*names)
    assert np.array_equal(first.epochs, second.epochs)
    assert np.array_equal(first.windows, second.windows)


@given(seeds, weights, window_counts, st.integers(0, 300), st.integers(1, 300))
def test_resume_at_any_sample(
    seed: int, mixture: dict[str, Fraction], windows: dict[str, int], cut: int, length: int
) -> None:
    # What a fresh process computes from n on is what the first would have gone on with.
    first, second = (Order(seed, [Phase.of(0, mixture)], windows) for _ in range(2))
    whole = [first.at(n) for n in range(cut + length)]
    assert [second.at(n) for n in range(cut, cut + length)] == whole[cut:]


@settings(max_examples=20)
@given(st.integers(1 << 31, 1 << 40), seeds)
def test_sources_and_samples_beyond_32_bits(windows: int, seed: int) -> None:
    order = Order(seed, [Phase.of(0, {"a": 1, "b": 2})], {"a": windows, "b": 3 * windows})
    samples = np.arange((1 << 40) + 7, (1 << 40) + 1507)
    many = order.at_many(samples)
    assert {(many.names[s], e, w) for s, e, w in zip(many.sources, many.epochs, many.windows, strict=True)} == {
        order.at(int(n)) for n in samples
    }
    assert order.at(1 << 55) == order.at(np.int64(1 << 55))
    counts = order.counts(1 << 40)
    assert sum(counts.values()) == 1 << 40
    assert abs(counts["a"] - (1 << 40) / 3) < BOUND


def test_seed_name_and_epoch_change_the_shuffle() -> None:
    def windows_of(seed: int, name: str, epoch: int) -> list[int]:
        order = Order(seed, [Phase.of(0, {name: 1})], {name: 100})
        return [order.at(epoch * 100 + n).window for n in range(100)]

    assert len({tuple(windows_of(*key)) for key in [(1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1)]}) == 4


def test_order_of_a_source_does_not_depend_on_its_company() -> None:
    def windows_of_a(mixture: dict[str, int]) -> list[tuple[int, int]]:
        order = Order(7, [Phase.of(0, mixture)], {"a": 13, "b": 5, "c": 8})
        places = [order.at(n) for n in range(300)]
        return [(place.epoch, place.window) for place in places if place.source == "a"][:50]

    assert windows_of_a({"a": 1}) == windows_of_a({"c": 1, "a": 2, "b": 1})


def test_values_do_not_change_between_versions() -> None:
    order = Order(1234, [Phase.of(0, {"web": 3, "wiki": 1}), Phase.of(6, {"wiki": 1, "web": 1})], {"web": 5, "wiki": 2})
    assert [tuple(order.at(n)) for n in range(10)] == [
        ("web", 0, 0),
        ("web", 0, 4),
        ("wiki", 0, 1),
        ("web", 0, 2),
        ("web", 0, 1),
        ("web", 0, 3),
        ("wiki", 0, 0),
        ("web", 1, 0),
        ("wiki", 1, 0),
        ("web", 1, 3),
    ]


def test_data_that_is_gone_is_missed_only_when_needed() -> None:
    order = Order(1, [Phase.of(0, {"a": 1}), Phase.of(10, {"b": 1})], {"b": 4})
    assert order.at(10).source == "b"
    assert order.counts(12) == {"a": 10, "b": 2}
    with pytest.raises(DataError, match="'a'"):
        order.at(9)
    with pytest.raises(DataError, match="'a'"):
        order.at_many(np.array([9]))


def test_negative_samples() -> None:
    order = Order(1, [Phase.of(0, {"a": 1})], {"a": 4})
    with pytest.raises(IndexError):
        order.at(-1)
    with pytest.raises(IndexError):
        order.at_many(np.array([0, -1]))
