"""Entries on disk, ordered by partition within each batch of a part; a partition is read from all parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steel_megatron.corpus.dedup.work import Job


def write_partitioned(
    job: Job,
    stage: str,
    number: int,
    batches: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint64]]],
    entry_bytes: int,
) -> dict[str, Any]:
    """Writes the batches of a part and where each partition lies in them; returns the counts of the task.

    Args:
        batches: bytes of entries ordered by partition, and the count of entries of each partition.
    """
    with job.task(stage, number, ".records", ".index").attempt() as (paths, counts):
        counts["records"] = 0
        with open(paths[0], "wb") as file, open(paths[1], "wb") as index:
            for entries, in_each in batches:
                ends = np.cumsum(in_each) * np.uint64(entry_bytes)
                bounds = np.concatenate([[np.uint64(0)], ends]).astype(np.uint64) + np.uint64(file.tell())
                index.write(bounds.data)
                file.write(entries.data)
                counts["records"] += int(in_each.sum())
    return counts


def read_partition(job: Job, stage: str, partition: int, entry_bytes: int) -> NDArray[np.uint8]:
    """The bytes of all entries of a partition, in one array that may be written to."""
    width = (job.partitions.exact if stage.startswith("exact") else job.partitions.bands) + 1
    pieces: list[tuple[int, int, int]] = []
    for at in job.signed:
        index = np.fromfile(job.path(stage, at, ".index"), np.uint64).reshape(-1, width)
        pieces += [(at, int(row[partition]), int(row[partition + 1])) for row in index]
    entries = np.empty(sum(stop - start for _, start, stop in pieces), np.uint8)
    view, at = entries.data, 0
    for number, start, stop in pieces:
        if start == stop:
            continue
        with open(job.path(stage, number, ".records"), "rb") as file:
            file.seek(start)
            if file.readinto(view[at : at + stop - start]) != stop - start:
                raise EOFError(f"{file.name} ends too early")
        at += stop - start
    assert len(entries) % entry_bytes == 0
    return entries
