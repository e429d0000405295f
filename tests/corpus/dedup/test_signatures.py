"""Signatures estimate Jaccard; buckets, pairs and groups are compared with what brute force finds."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.shingle_reference import jaccard
from steel_megatron import _minhash
from steel_megatron._minhash import BANDS, PERMUTATIONS, ROWS, band_records, bucket_pairs, exact_pairs, signatures

BAND = np.dtype([("key", "<u8"), ("document", "<u4")])
EXACT = np.dtype([("high", "<u8"), ("low", "<u8"), ("document", "<u4")])


def chinese(count: int, seed: int) -> str:
    return "".join(random.Random(seed).choices([chr(c) for c in range(0x4E00, 0x5E00)], k=count))


def pairs_of(values: np.ndarray) -> set[tuple[int, int]]:
    return {(int(value) >> 32, int(value) & 0xFFFFFFFF) for value in values}


@pytest.mark.parametrize("length", [8, 30, 500, 5000])
def test_agreeing_minima_estimate_jaccard(length: int) -> None:
    errors = []
    for seed in range(60):
        text = chinese(length, seed)
        cut = random.Random(seed).randrange(length // 8, length)
        other = text[:cut] + chinese(length - cut, 1000 + seed)
        first, second = signatures([text, other])[0]
        errors.append(float(np.mean(first == second)) - jaccard(text, other))
    assert abs(np.mean(errors)) < 0.03  # 60 means of 128 draws: standard error below 0.006
    assert np.max(np.abs(errors)) < 0.2  # 4.5 standard deviations


def test_a_repeated_shingle_counts_once() -> None:
    text = "天地玄黄宇宙洪荒"
    first, second = signatures([text + text[:4], (text + "，") * 50 + text[:4]])[0]
    assert (first == second).all()


def test_documents_of_one_shingle_do_not_agree_by_accident() -> None:
    texts = [chinese(5, seed) for seed in range(3000)]
    signed, shingles = signatures(texts)
    assert (shingles == 1).all()
    assert len(np.unique(signed, axis=0)) == len(set(texts))
    agreeing = (signed[:-1] == signed[1:]).sum(axis=1)
    assert agreeing.max() <= 3


def test_no_shingle_is_said_and_not_hashed() -> None:
    assert signatures(["", "四个汉字", "one two three four", "五个汉字字"])[1].tolist() == [0, 0, 0, 1]


@given(st.lists(st.integers(0, 2), max_size=20), st.integers(1, 7), st.randoms(use_true_random=False))
def test_documents_meet_where_a_band_is_equal(kinds: list[int], partitions: int, chance: random.Random) -> None:
    generator = np.random.default_rng(chance.randrange(1000))
    shapes = generator.integers(0, 1 << 16, (3, PERMUTATIONS), dtype=np.uint16)
    signed = shapes[kinds].reshape(-1, PERMUTATIONS)
    for row in signed:
        row[chance.randrange(PERMUTATIONS)] = chance.randrange(1 << 16)
    active = np.array([chance.random() < 0.8 for _ in kinds], np.uint8)
    records, counts = band_records(signed, active, 100, partitions)
    assert counts.sum() == active.sum() * BANDS == len(records) // BAND.itemsize
    ends = np.cumsum(counts).tolist()
    found: set[tuple[int, int]] = set()
    for start, end in zip([0, *ends], ends, strict=False):
        found |= pairs_of(bucket_pairs(records[start * BAND.itemsize : end * BAND.itemsize].copy()))
    bands = signed.reshape(len(kinds), BANDS, ROWS)
    equal = {
        (100 + two, 100 + one)
        for one, two in itertools.combinations(np.flatnonzero(active).tolist(), 2)
        if (bands[one] == bands[two]).all(axis=1).any()
    }
    assert found <= equal
    assert groups_of(found) == groups_of(equal)


def groups_of(pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    """Connected documents, by brute force."""
    groups: list[set[int]] = []
    for pair in pairs:
        touched = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in touched] + [set(pair).union(*touched)]
    return {frozenset(group) for group in groups}


def test_a_small_bucket_gives_all_pairs_and_a_large_one_few() -> None:
    small, large = (np.array([(7, n) for n in range(count)], BAND) for count in (4, 1000))
    assert pairs_of(bucket_pairs(small.view(np.uint8))) == {(b, a) for a, b in itertools.combinations(range(4), 2)}
    pairs = pairs_of(bucket_pairs(large[::-1].copy().view(np.uint8)))
    assert len(pairs) <= 4 * 1000
    assert {(n, 0) for n in range(1, 1000)} <= pairs
    assert groups_of(pairs) == {frozenset(range(1000))}


def test_equal_texts_are_paired_with_the_first() -> None:
    rows = [(1, 2, 9), (1, 3, 8), (1, 2, 4), (2, 2, 5), (1, 2, 6)]
    pairs = exact_pairs(np.array(rows, EXACT).view(np.uint8))
    assert [divmod(int(pair), 1 << 32) for pair in pairs] == [(6, 4), (9, 4)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_groups_are_the_connected_documents(edges: list[tuple[int, int]]) -> None:
    later = [(max(edge), min(edge)) for edge in edges if edge[0] != edge[1]]
    parents = np.arange(31, dtype=np.uint32)
    _minhash.unite(parents, np.array([b << 32 | a for b, a in later], np.uint64))
    _minhash.flatten(parents)
    expected = {document: min(group) for group in groups_of(set(later)) for document in group}
    assert parents.tolist() == [expected.get(document, document) for document in range(31)]


def test_a_pair_of_no_document_is_refused() -> None:
    with pytest.raises(IndexError):
        _minhash.unite(np.arange(3, dtype=np.uint32), np.array([7 << 32], np.uint64))
