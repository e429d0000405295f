"""Entries go to their partitions batch by batch, and come back from all parts."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.dedup_stages import signed
from steel_megatron.corpus.dedup.partitions import read_partition, write_partitioned
from steel_megatron.corpus.dedup.work import Job, Partitions

STAGE = "exact_partitions"


@pytest.fixture
def job(tmp_path) -> Job:
    return signed(tmp_path, {"a": ["x"], "b": ["y"]}, Partitions(3, 5, 10))


def batch(*partitions: bytes):
    """Entries of two bytes, ordered by partition."""
    counts = np.array([len(entries) // 2 for entries in partitions], np.uint64)
    return np.frombuffer(b"".join(partitions), np.uint8), counts


def test_a_partition_is_read_from_every_batch_of_every_part(job):
    counts = write_partitioned(job, STAGE, 0, [batch(b"aabb", b"", b"cc"), batch(b"", b"dd", b"eeff")], 2)
    assert counts["records"] == 6
    assert write_partitioned(job, STAGE, 1, [batch(b"gg", b"", b"")], 2)["records"] == 1
    assert [read_partition(job, STAGE, number, 2).tobytes() for number in range(3)] == [b"aabbgg", b"dd", b"cceeff"]


def test_parts_without_entries_give_empty_partitions(job):
    assert write_partitioned(job, STAGE, 0, [], 2)["records"] == 0
    write_partitioned(job, STAGE, 1, [batch(b"", b"", b"")], 2)
    assert [len(read_partition(job, STAGE, number, 2)) for number in range(3)] == [0, 0, 0]


def test_what_is_read_may_be_written_to(job):
    for number in range(2):
        write_partitioned(job, STAGE, number, [batch(b"aa", b"", b"")], 2)
    entries = read_partition(job, STAGE, 0, 2)
    entries[:] = 0
    assert read_partition(job, STAGE, 0, 2).tobytes() == b"aaaa"


def test_bands_have_a_count_of_partitions_of_their_own(job):
    for number in range(2):
        write_partitioned(job, "band_partitions", number, [batch(b"", b"", b"", b"", b"zz")], 2)
    assert read_partition(job, "band_partitions", 4, 2).tobytes() == b"zzzz"


def test_a_file_that_ends_too_early_is_an_error(job):
    for number in range(2):
        write_partitioned(job, STAGE, number, [batch(b"aabb", b"", b"")], 2)
    job.path(STAGE, 1, ".records").write_bytes(b"aab")
    with pytest.raises(EOFError, match=r"000001\.records ends too early"):
        read_partition(job, STAGE, 0, 2)
