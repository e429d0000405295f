"""Stage 2: documents of equal text. Their hashes go to partitions by hash; in each the first document is found.

What comes out is one file of 32-bit numbers: of each document the first one of its text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steel_megatron._minhash import exact_pairs
from steel_megatron.corpus.dedup import sign
from steel_megatron.corpus.dedup.partitions import read_partition, write_partitioned
from steel_megatron.corpus.dedup.work import Job
from steel_megatron.jobs.durable import whole

PARTITION, STAGE = "exact_partitions", "exact_pairs"
FIRSTS = "exact.u32"
ENTRY = np.dtype([("high", "<u8"), ("low", "<u8"), ("document", "<u4")])
TASK_BYTES_PER_ENTRY = 48  # the entry, its pair, and room to grow
BATCH = 1 << 18  # documents handled at once


def partition_part(job: Job, at: int) -> dict[str, Any]:
    """The hashes of a stretch of documents, ordered by partition."""

    def batches() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint64]]]:
        first = job.firsts[at]
        marks_path, hashes_path = (job.signed_path(at, suffix) for suffix in (".marks", ".hashes"))
        with open(marks_path, "rb") as marks_file, open(hashes_path, "rb") as hashes_file:
            while marks := marks_file.read(BATCH):
                marks_D = np.frombuffer(marks, np.uint8)
                hashes = np.frombuffer(hashes_file.read(sign.HASH_BYTES * len(marks)), "<u8").reshape(-1, 2)
                kept = np.flatnonzero(marks_D & (sign.INVALID | sign.CONTAMINATED | sign.EMPTY) == 0)
                entries = np.empty(len(kept), ENTRY)
                entries["high"], entries["low"] = hashes[kept, 0], hashes[kept, 1]
                entries["document"] = kept + first
                first += len(marks)
                count = job.partitions.exact
                target = ((entries["high"] >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)
                counts = np.bincount(target.astype(np.int64), minlength=count).astype(np.uint64)
                yield entries[np.argsort(target, kind="stable")].view(np.uint8), counts

    return write_partitioned(job, PARTITION, at, batches(), ENTRY.itemsize)


def pair_partition(job: Job, number: int) -> dict[str, Any]:
    """The pairs (later document, first document) of a partition."""
    pairs = exact_pairs(read_partition(job, PARTITION, number, ENTRY.itemsize))
    with job.task(STAGE, number, ".pairs").attempt() as ([path], counts):
        pairs.tofile(path)
        counts["pairs"] = len(pairs)
    return counts


def write_firsts(job: Job) -> None:
    """Writes the file of first documents from all pairs, by a map of it, so that memory does not grow with it."""
    target = job.file(FIRSTS)
    if target.exists():
        return
    with whole(target) as file:
        for start in range(0, job.documents, BATCH):
            np.arange(start, min(start + BATCH, job.documents), dtype=np.uint32).tofile(file)
        file.flush()
        if job.documents:
            firsts = np.memmap(file.name, np.uint32, "r+")
            for number in range(job.partitions.exact):
                pairs = np.fromfile(job.path(STAGE, number, ".pairs"), np.uint64)
                firsts[(pairs >> np.uint64(32)).astype(np.int64)] = pairs.astype(np.uint32)
            firsts.flush()
