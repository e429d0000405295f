"""Stage 3: documents that share a bucket become pairs, wherever the bucket's partition is."""

from __future__ import annotations

import pytest

from helpers.dedup_stages import changed, pairs_of, signed, through_bands, words
from steel_megatron._minhash import BANDS
from steel_megatron.corpus.dedup import bands
from steel_megatron.corpus.dedup.work import Partitions

A, B = words(1), words(2)


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_near_duplicates_are_candidates_and_strangers_are_not(tmp_path, partitions):
    job = through_bands(signed(tmp_path, {"a": [A, B], "b": [words(3), changed(A)]}, Partitions(1, partitions, 10)))
    assert pairs_of(job, bands.STAGE, range(partitions)) == {(3, 0)}


def test_copies_and_short_texts_take_no_part(tmp_path):
    job = through_bands(signed(tmp_path, {"a": [A, A, "ab", "", B]}, Partitions(1, 2, 10)))
    assert job.counts(bands.PARTITION, 0)["records"] == 2 * BANDS  # of the first A, and of B
    assert pairs_of(job, bands.STAGE, range(2)) == set()


def test_counts_are_those_of_the_pairs(tmp_path):
    job = through_bands(signed(tmp_path, {"a": [A, changed(A)]}, Partitions(1, 2, 10)))
    sizes = [job.path(bands.STAGE, number, ".pairs").stat().st_size // 8 for number in range(2)]
    assert [job.counts(bands.STAGE, number)["pairs"] for number in range(2)] == sizes
    assert sum(sizes) >= 1
