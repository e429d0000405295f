"""Stage 2: each document's first of equal text, however the hashes are shared out."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.dedup_stages import pairs_of, signed, through_exact, words
from steel_megatron.corpus.dedup import exact
from steel_megatron.corpus.dedup.work import Partitions

A, B, C = (words(seed) for seed in range(3))


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_the_first_of_each_text_is_found_across_parts(tmp_path, partitions):
    job = through_exact(signed(tmp_path, {"a": [A, B, A], "b": [C, B], "c": [A, C]}, Partitions(partitions, 1, 10)))
    assert np.fromfile(job.file(exact.FIRSTS), np.uint32).tolist() == [0, 1, 0, 3, 1, 0, 3]
    assert pairs_of(job, exact.STAGE, range(partitions)) == {(2, 0), (4, 1), (5, 0), (6, 3)}


def test_empty_texts_are_no_duplicates_of_one_another(tmp_path):
    job = through_exact(signed(tmp_path, {"a": ["", A, "", A]}, Partitions(2, 1, 10)))
    assert np.fromfile(job.file(exact.FIRSTS), np.uint32).tolist() == [0, 1, 2, 1]


def test_short_texts_are_compared_too(tmp_path):
    job = through_exact(signed(tmp_path, {"a": ["ab", "cd", "ab"]}, Partitions(2, 1, 10)))
    assert np.fromfile(job.file(exact.FIRSTS), np.uint32).tolist() == [0, 1, 0]


def test_a_finished_file_of_firsts_is_left_as_it_is(tmp_path):
    job = through_exact(signed(tmp_path, {"a": [A, A]}, Partitions(1, 1, 10)))
    job.path(exact.STAGE, 0, ".pairs").unlink()  # gone, as after a later stage
    exact.write_firsts(job)
    assert np.fromfile(job.file(exact.FIRSTS), np.uint32).tolist() == [0, 0]
