"""Documents in a random order, through files on disk: memory holds one bucket of them, whatever their number.

Document n gets the key hash(seed, n), and documents are written by ascending key. The first bits of the key name a
bucket. Groups of parts are sorted by key, each by itself; then each bucket is gathered from all of them, sorted, and
written in its place. The order depends on the seed and the number of a document, and not on the cut.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steel_megatron._indexed import gather
from steel_megatron.jobs.durable import sync
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.tasks import Task
from steel_megatron.tokens.token_type import stored
from steel_megatron.tokens.tokenise.join import Group, JoinJob, Place, remove_parts, used_parts
from steel_megatron.tokens.tokenise.part import IDS, LENGTH_TYPE, LENGTHS

BUCKET_BYTES = 128 << 20
MOST_BUCKETS = 4096
AT_ONCE = 8  # buckets in memory
TRIMS = 16  # times that the sorted groups are cut behind the buckets still to come
DOCUMENTS, STARTS = ".documents", ".starts"  # number and length of each document; the Place of each bucket


def document_keys(seed: int, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The keys of documents: splitmix64's mixing (Steele et al. 2014)."""
    return _mix(numbers + _mix(np.array([seed % 2**64], np.uint64)))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@dataclass(frozen=True)
class ShuffleJob(JoinJob):
    """
    Args:
        bits: of the keys that name a bucket.
        groups: how many there are, known for gathering.
        buckets: where each bucket begins in the dataset, known for gathering.
    """

    seed: int = 0
    bits: int = 0
    groups: int = 0
    buckets: tuple[Place, ...] = ()

    def task(self, group: Group) -> Task:
        return self.sorted_group(group.number)

    def sorted_group(self, number: int) -> Task:
        return used_parts(self.files, self.key, number, (IDS, DOCUMENTS, STARTS))


class Bucket(NamedTuple):
    """``size`` is that of its ids in bytes."""

    number: int
    size: int


def sort_group(job: ShuffleJob, group: Group) -> dict[str, Any]:
    """Sorts the documents of a group of parts by their keys."""
    files = [job.files.file(part, job.key, IDS) for part in range(group.first, group.stop)]
    ids = np.concatenate([np.fromfile(path, stored(job.dataset.dtype)) for path in files])
    lengths = np.concatenate([np.fromfile(path.with_suffix(LENGTHS), LENGTH_TYPE) for path in files]).astype(np.int64)
    first = job.starts[group.first].documents
    numbers = np.arange(first, first + len(lengths))
    keys = document_keys(job.seed, numbers.astype(np.uint64))
    order = np.argsort(keys, kind="stable")
    lengths_in_order = lengths[order]
    buckets = (keys[order] >> np.uint64(63 - job.bits)) >> np.uint64(1)  # a shift by 64 bits is none
    borders = np.searchsorted(buckets, np.arange((1 << job.bits) + 1, dtype=np.uint64))
    before = [np.concatenate([[0], np.cumsum(column)]) for column in (lengths_in_order > 0, lengths_in_order)]
    starts = np.stack([borders, *(column[borders] for column in before)], axis=1)
    with job.task(group).attempt() as (paths, mark):
        gather(ids, lengths, order).tofile(paths[0])
        np.stack([numbers[order], lengths_in_order], axis=1).tofile(paths[1])
        starts.astype(np.int64).tofile(paths[2])
        for path in paths:
            sync(path)
        mark.update(group.parts())
    done = job.task(group)
    sync(done.file(done.mark))
    sync(done.stem.parent)
    remove_parts(job.files, group, [IDS, LENGTHS])
    return {}


def gather_bucket(job: ShuffleJob, bucket: Bucket) -> dict[str, Any]:
    """Writes the documents of a bucket in their places."""
    ids, tables = [], []
    for number in range(job.groups):
        task = job.sorted_group(number)
        start, stop = np.fromfile(task.file(STARTS), np.int64, 6, offset=24 * bucket.number).reshape(2, 3)
        ids.append(_stretch(task.file(IDS), stored(job.dataset.dtype), start[2], stop[2]))
        tables.append(_stretch(task.file(DOCUMENTS), np.dtype(np.int64), 2 * start[0], 2 * stop[0]).reshape(-1, 2))
    numbers, lengths = np.ascontiguousarray(np.concatenate(tables).T)
    order = np.lexsort((numbers, document_keys(job.seed, numbers.astype(np.uint64))))
    with job.dataset.writing() as files:
        files.write(job.buckets[bucket.number], gather(np.concatenate(ids), lengths, order), lengths[order])
    job.dataset.sync()
    task = _gathered(job, bucket)
    with task.attempt():
        pass
    sync(task.file(task.mark))
    return {}


def shuffle(engine: Engine, job: ShuffleJob, groups: Sequence[Group]) -> None:
    """Writes all documents in their new order."""
    size = sum(group.ids_bytes for group in groups)
    wanted = min(max(size // BUCKET_BYTES, 1), MOST_BUCKETS)
    job = replace(job, groups=len(groups), bits=int(wanted - 1).bit_length())
    at_once = min(AT_ONCE, 1 + size // BUCKET_BYTES)
    engine.run("sort", sort_group, job, groups, lambda group: job.task(group).marked(), at_once)
    starts = [np.fromfile(job.task(group).file(STARTS), np.int64).reshape(-1, 3) for group in groups]
    begins = np.sum(starts, axis=0)  # what all groups have before a bucket
    job = replace(job, buckets=tuple(Place(*begin) for begin in begins.tolist()))
    item = stored(job.dataset.dtype).itemsize
    sizes = np.diff(begins[:, 2]) * item
    buckets = [Bucket(number, size) for number, size in enumerate(sizes.tolist())]
    every = max(len(buckets) // TRIMS, 1)
    with (
        Progress("shuffle", size) as progress,
        closing(_gather_all(engine, job, buckets, progress, at_once)) as done,
    ):
        for bucket, _ in done:
            if bucket.number and bucket.number % every == 0:
                for group, places in zip(groups, starts, strict=True):
                    documents, _, tokens = places[bucket.number].tolist()
                    _cut(job.task(group).file(IDS), tokens * item)
                    _cut(job.task(group).file(DOCUMENTS), documents * 16)


def _gather_all(
    engine: Engine, job: ShuffleJob, buckets: Sequence[Bucket], progress: Progress, at_once: int
) -> Generator[tuple[Bucket, dict[str, Any]], None, None]:
    """Gathers the last bucket first, so that the sorted groups can be cut behind those still to come."""

    def done(bucket: Bucket) -> dict[str, Any] | None:
        marked = _gathered(job, bucket).marked()
        if marked is not None:
            progress.add(bucket.size)
        return marked

    workers = min(engine.workers, at_once)
    return engine.stream(gather_bucket, job, reversed(buckets), progress, done, workers)


def _gathered(job: ShuffleJob, bucket: Bucket) -> Task:
    return Task(Path(job.files.folder, f"bucket.{job.key}.{bucket.number:04d}"), ())


def _stretch(path: Path, dtype: np.dtype[Any], start: int, stop: int) -> NDArray[Any]:
    return np.fromfile(path, dtype, stop - start, offset=start * dtype.itemsize)


def _cut(path: Path, size: int) -> None:
    if path.stat().st_size > size:
        os.truncate(path, size)
