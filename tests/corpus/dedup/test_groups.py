"""Stages 4 and 5: pairs similar enough join documents into groups, which have their first documents' numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.dedup_stages import changed, pairs_of, signed, through_exact, through_groups, words
from steel_megatron.corpus.dedup import groups
from steel_megatron.corpus.dedup.work import Partitions

A, B = words(1), words(2)
SOURCES = {"a": [A, B, changed(A)], "b": [B, changed(B), changed(A)]}


@pytest.mark.parametrize("per_range", [1, 4, 100])
def test_groups_do_not_depend_on_the_ranges(tmp_path, per_range):
    job = through_groups(signed(tmp_path, SOURCES, Partitions(1, 2, per_range)))
    assert np.fromfile(job.file(groups.GROUPS), np.uint32).tolist() == [0, 1, 0, 1, 1, 0]
    # Document 5 is a copy of 2, so it is no pair of its own.
    assert pairs_of(job, groups.STAGE, range(groups.range_count(job))) == {(2, 0), (4, 1)}


def test_a_pair_below_the_threshold_joins_nothing(tmp_path):
    less = A[: len(A) * 3 // 4] + words(9, 30)
    job = through_groups(signed(tmp_path, {"a": [A, less]}, Partitions(1, 1, 10), threshold=0.95))
    assert np.fromfile(job.file(groups.GROUPS), np.uint32).tolist() == [0, 1]
    assert job.counts(groups.STAGE, 0)["verified"] == 0


def test_exact_only_takes_the_firsts_as_groups(tmp_path):
    job = through_exact(signed(tmp_path, SOURCES, Partitions(1, 1, 10), exact_only=True))
    groups.write_groups(job)
    assert np.fromfile(job.file(groups.GROUPS), np.uint32).tolist() == [0, 1, 2, 1, 4, 2]


@pytest.mark.parametrize(("per_range", "count"), [(1, 6), (4, 2), (6, 1), (7, 1)])
def test_the_last_range_may_be_short(tmp_path, per_range, count):
    job = signed(tmp_path, SOURCES, Partitions(1, 1, per_range), exact_only=True)
    assert groups.range_count(job) == count
    assert groups.range_count(replace(job, firsts=(0,))) == 0
