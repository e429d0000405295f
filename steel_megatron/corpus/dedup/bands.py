"""Stage 3: the signatures' bands go to partitions by hash; documents that share a bucket become candidate pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steel_megatron._minhash import BANDS, PERMUTATIONS, band_records, bucket_pairs
from steel_megatron.corpus.dedup import exact
from steel_megatron.corpus.dedup.partitions import read_partition, write_partitioned
from steel_megatron.corpus.dedup.work import Job

PARTITION, STAGE = "band_partitions", "candidate_pairs"
ENTRY_BYTES = 12  # 64 bits of key, 32 bits of document
ENTRIES_PER_DOCUMENT = BANDS
TASK_BYTES_PER_ENTRY = 80  # the entry, four pairs at most, and room to grow
BATCH = 1 << 15  # documents handled at once: 20 MB


def partition_part(job: Job, at: int) -> dict[str, Any]:
    """The band entries of those of a stretch of documents that have shingles and are the first of their text."""

    def batches() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint64]]]:
        first = job.firsts[at]
        marks_path, path = (job.signed_path(at, suffix) for suffix in (".marks", ".signatures"))
        with open(marks_path, "rb") as marks_file, open(path, "rb") as file, open(job.file(exact.FIRSTS), "rb") as same:
            same.seek(4 * first)
            while marks := marks_file.read(BATCH):
                count = len(marks)
                signatures = np.frombuffer(file.read(2 * PERMUTATIONS * count), np.uint16).reshape(count, -1)
                own = np.arange(first, first + count, dtype=np.uint32)
                active = (np.frombuffer(marks, np.uint8) == 0) & (np.frombuffer(same.read(4 * count), np.uint32) == own)
                yield band_records(signatures, active.view(np.uint8), first, job.partitions.bands)
                first += count

    return write_partitioned(job, PARTITION, at, batches(), ENTRY_BYTES)


def pair_partition(job: Job, number: int) -> dict[str, Any]:
    """The candidate pairs of a partition, ordered."""
    pairs = bucket_pairs(read_partition(job, PARTITION, number, ENTRY_BYTES))
    with job.task(STAGE, number, ".pairs").attempt() as ([path], counts):
        pairs.tofile(path)
        counts["pairs"] = len(pairs)
    return counts
