"""Stages 4 and 5: pairs similar enough say which document stays for which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.dedup_stages import changed, pairs_of, signed, through_exact, through_groups, words
from steel_megatron._minhash import PERMUTATIONS, SignatureFiles
from steel_megatron.corpus.dedup import groups
from steel_megatron.corpus.dedup.work import GROUPS, Partitions

A, B = words(1), words(2)
SOURCES = {"a": [A, B, changed(A)], "b": [B, changed(B), changed(A)]}


@pytest.mark.parametrize("per_range", [1, 4, 100])
def test_groups_do_not_depend_on_the_ranges(tmp_path, per_range):
    job = through_groups(signed(tmp_path, SOURCES, Partitions(1, 2, per_range)))
    assert np.fromfile(job.file(GROUPS), np.uint32).tolist() == [0, 1, 0, 1, 1, 0]
    # Document 5 is a copy of 2, so it is no pair of its own.
    assert pairs_of(job, groups.STAGE, range(groups.range_count(job))) == {(2, 0), (4, 1)}


@pytest.mark.parametrize(("against", "stay"), [("kept", [0, 0, 2]), ("any", [0, 0, 0])])
def test_the_third_of_a_chain_falls_with_its_group_alone(tmp_path, against, stay):
    chain = [words(1, 80) + " " + words(2, 80), words(1, 80) + " " + words(2, 60) + " " + words(3, 20)]
    chain.append(words(1, 70) + " " + words(2, 55) + " " + words(3, 35))
    job = through_groups(signed(tmp_path, {"a": chain}, Partitions(1, 1, 2), threshold=0.66, against=against))
    assert pairs_of(job, groups.STAGE, range(2)) == {(1, 0), (2, 1)}
    assert np.fromfile(job.file(GROUPS), np.uint32).tolist() == stay


@given(st.lists(st.lists(st.integers(0, 2), min_size=8, max_size=8), min_size=1, max_size=9), st.data())
def test_what_falls_is_like_what_stays(tmp_path_factory, rows, data):
    least = data.draw(st.integers(1, 8)) * (PERMUTATIONS // 8)
    signatures = np.repeat(np.array(rows, np.uint16), PERMUTATIONS // 8, axis=1)
    path = tmp_path_factory.mktemp("fall") / "x.signatures"
    signatures.tofile(path)
    alike = (signatures[:, None] == signatures[None]).sum(2) >= least
    every = [(later, earlier) for later in range(len(rows)) for earlier in range(later) if alike[later, earlier]]
    known = [pair for pair in every if data.draw(st.booleans())]  # not all that are alike meet in a band
    parents = np.arange(len(rows), dtype=np.uint32)
    files = SignatureFiles([str(path)], [0])
    at = data.draw(st.integers(0, len(rows)))  # documents come in ranges
    for part in ([pair for pair in known if pair[0] < at], [pair for pair in known if pair[0] >= at]):
        files.fall(parents, np.array([later << 32 | earlier for later, earlier in part], np.uint64), least)
    stays = list(range(len(rows)))
    for later in stays:
        met = [earlier for one, earlier in known if one == later]
        direct = [earlier for earlier in met if stays[earlier] == earlier]
        behind = sorted({stays[earlier] for earlier in met})
        stays[later] = next(iter(direct + [earlier for earlier in behind if alike[later, earlier]]), later)
    assert parents.tolist() == stays
    assert all(stays[other] == other and (other == one or alike[one, other]) for one, other in enumerate(stays))


def test_a_pair_below_the_threshold_joins_nothing(tmp_path):
    less = A[: len(A) * 3 // 4] + words(9, 30)
    job = through_groups(signed(tmp_path, {"a": [A, less]}, Partitions(1, 1, 10), threshold=0.95))
    assert np.fromfile(job.file(GROUPS), np.uint32).tolist() == [0, 1]
    assert job.counts(groups.STAGE, 0)["verified"] == 0


def test_exact_only_takes_the_firsts_as_groups(tmp_path):
    job = through_exact(signed(tmp_path, SOURCES, Partitions(1, 1, 10), exact_only=True))
    groups.write_groups(job)
    assert np.fromfile(job.file(GROUPS), np.uint32).tolist() == [0, 1, 2, 1, 4, 2]


@pytest.mark.parametrize(("per_range", "count"), [(1, 6), (4, 2), (6, 1), (7, 1)])
def test_the_last_range_may_be_short(tmp_path, per_range, count):
    job = signed(tmp_path, SOURCES, Partitions(1, 1, per_range), exact_only=True)
    assert groups.range_count(job) == count
    assert groups.range_count(replace(job, firsts=(0,))) == 0
