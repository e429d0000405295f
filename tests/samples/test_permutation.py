from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.samples.permutation import Permutation

sizes = st.one_of(st.integers(1, 300), st.integers(1, 1 << 48), st.integers(0, 48).map(lambda bits: 1 << bits))


@given(st.integers(1, 5000), st.text(max_size=20))
def test_every_element_once(size: int, key: str) -> None:
    assert np.array_equal(np.sort(Permutation(size, key).at_many(np.arange(size))), np.arange(size))


@given(sizes, st.text(max_size=20), st.data())
def test_vectorised_is_the_same(size: int, key: str, data: st.DataObject) -> None:
    permutation = Permutation(size, key)
    indices = data.draw(st.lists(st.integers(0, size - 1), max_size=30))
    assert permutation.at_many(np.array(indices, np.int64)).tolist() == [permutation.at(index) for index in indices]


@given(st.integers(1 << 31, 1 << 48), st.data())
def test_distinct_and_in_range_beyond_32_bits(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size - 2000))
    values = Permutation(size, "key").at_many(np.arange(start, start + 2000))
    assert len(np.unique(values)) == 2000
    assert values.min() >= 0
    assert values.max() < size


def test_values_do_not_change_between_versions() -> None:
    # A run must find the same order after an update: these numbers are part of the format.
    assert Permutation(10, "a").at_many(np.arange(10)).tolist() == [7, 8, 5, 4, 9, 0, 1, 2, 3, 6]
    assert [Permutation(1 << 40, "a").at(i) for i in range(3)] == [367678202543, 643613971045, 308707222880]


@pytest.mark.parametrize("size", [3, 4])
def test_all_orders_are_about_equally_likely(size: int) -> None:
    draws = 12_000
    seen = Counter(tuple(Permutation(size, str(key)).at_many(np.arange(size))) for key in range(draws))
    expected = draws / math.factorial(size)
    chi_square = sum((seen[order] - expected) ** 2 / expected for order in itertools.permutations(range(size)))
    assert chi_square < 3 * math.factorial(size)


def test_neighbours_are_unrelated() -> None:
    size, keys = 50, 2000
    drawn = np.stack([Permutation(size, str(key)).at_many(np.arange(size)) for key in range(keys)])
    steps = np.bincount(((drawn[:, 1:] - drawn[:, :-1]) % size).ravel(), minlength=size)[1:]
    assert ((steps - steps.mean()) ** 2 / steps.mean()).sum() < 2 * size
    at_place = np.stack([np.bincount(drawn[:, place], minlength=size) for place in range(size)])
    expected = keys / size
    assert ((at_place - expected) ** 2 / expected).sum() < 1.2 * size**2


def test_large_permutation_has_no_trend() -> None:
    values = Permutation(1 << 29, "x").at_many(np.arange(200_000)).astype(float)
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.01
    assert abs(np.corrcoef(values, np.arange(len(values)))[0, 1]) < 0.01


@pytest.mark.parametrize("index", [-1, 7])
def test_index_outside(index: int) -> None:
    with pytest.raises(IndexError):
        Permutation(7, "").at(index)
    with pytest.raises(IndexError):
        Permutation(7, "").at_many(np.array([index]))


@pytest.mark.parametrize("size", [0, (1 << 48) + 1])
def test_size_outside(size: int) -> None:
    with pytest.raises(ValueError, match="size"):
        Permutation(size, "")
