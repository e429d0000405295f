"""Records on disk, ordered by partition within each chunk of a part; a partition is read from all parts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from steel_megatron.corpus.dedup.work import Job


def write_partitioned(
    job: Job,
    stage: str,
    number: int,
    chunks: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint64]]],
    record_bytes: int,
) -> None:
    """Writes the chunks of a part and where each partition lies in them, and marks the task as done.

    Args:
        chunks: bytes of records ordered by partition, and the count of records of each partition.
    """
    path, index_path = job.begin(stage, number, ".records", ".index")
    total = 0
    with open(path, "wb") as file, open(index_path, "wb") as index:
        for records, counts in chunks:
            ends = np.cumsum(counts) * np.uint64(record_bytes)
            bounds = np.concatenate([[np.uint64(0)], ends]).astype(np.uint64) + np.uint64(file.tell())
            index.write(bounds.data)
            file.write(records.data)
            total += int(counts.sum())
    job.finish(stage, number, {"records": total}, [path, index_path])


def read_partition(job: Job, stage: str, partition: int, record_bytes: int) -> NDArray[np.uint8]:
    """The bytes of all records of a partition, in one array that may be written to."""
    width = (job.partitions.exact if stage.startswith("exact") else job.partitions.bands) + 1
    pieces: list[tuple[int, int, int]] = []
    for part in job.plan.parts:
        index = np.fromfile(job.path(stage, part.number, ".index"), np.uint64).reshape(-1, width)
        pieces += [(part.number, int(row[partition]), int(row[partition + 1])) for row in index]
    records = np.empty(sum(stop - start for _, start, stop in pieces), np.uint8)
    view, at = records.data, 0
    for number, start, stop in pieces:
        if start == stop:
            continue
        with open(job.path(stage, number, ".records"), "rb") as file:
            file.seek(start)
            if file.readinto(view[at : at + stop - start]) != stop - start:
                raise EOFError(f"{file.name} ends too early")
        at += stop - start
    assert len(records) % record_bytes == 0
    return records
