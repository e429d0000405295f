from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError
from steel_megatron.samples.split import parse_split, split_documents


@given(st.integers(0, 1 << 40), st.lists(st.integers(0, 10**6), min_size=1, max_size=3).filter(any))
def test_every_document_in_one_split(documents: int, shares: list[int]) -> None:
    ranges = list(split_documents(documents, ",".join(map(str, shares))).values())
    assert ranges[0][0] == 0
    assert ranges[-1][1] == documents
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
    for (first, last), share in zip(ranges, shares, strict=False):
        assert abs((last - first) - Fraction(share, sum(shares)) * documents) <= 1
        assert share or first == last


@given(st.integers(0, 100_000), st.tuples(*[st.integers(0, 1000)] * 3).filter(any))
def test_like_megatron_where_floating_point_is_exact(documents: int, shares: tuple[int, int, int]) -> None:
    # Megatron-LM rounds floating-point products; sums that are powers of two make those exact.
    total = 1024
    scaled = [shares[0] * total // sum(shares), shares[1] * total // sum(shares)]
    scaled.append(total - sum(scaled))
    cumulative, expected = 0.0, [0]
    for share in scaled:
        cumulative += share / total
        expected.append(round(cumulative * float(documents)))
    ranges = split_documents(documents, ",".join(map(str, scaled)))
    assert list(ranges.values()) == list(itertools.pairwise(expected))


def test_halves_go_to_even() -> None:
    assert split_documents(1, "1,1")["train"] == (0, 0)
    assert split_documents(3, "1,1")["train"] == (0, 2)
    assert split_documents(1000, "949,50,1") == {"train": (0, 949), "valid": (949, 999), "test": (999, 1000)}
    assert split_documents(7, "100") == {"train": (0, 7), "valid": (7, 7), "test": (7, 7)}


def test_shares_are_exact() -> None:
    assert parse_split("0.1, 0.2") == (Fraction(1, 3), Fraction(2, 3), 0)


@pytest.mark.parametrize("text", ["", "a", "0,0,0", "1,-1", "1,2,3,4", "1,,2", "nan", "1/0", "1e99999999", "inf"])
def test_bad_split(text: str) -> None:
    with pytest.raises(ConfigError, match="--split"):
        parse_split(text)
