"""Files of parts put at their places in a dataset: their sizes are known, so several workers write at once.

What is in its place and on the disk is marked, and only then the parts go: the disk holds the ids once and a little
more, and a run that is killed in between goes on.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steel_megatron.jobs.durable import copy_to, partial_of, sync
from steel_megatron.jobs.tasks import Task
from steel_megatron.tokens.tokenise.part import IDS, LENGTH_TYPE, LENGTHS, PartFiles

GROUP_BYTES = 128 << 20  # of ids that are put in their places together
# Megatron's index: magic, version, type of the ids, sequences, documents + 1; then lengths, pointers, boundaries.
HEADER = struct.Struct("<9sQBQQ")
MAGIC, VERSION = b"MMIDIDX\0\0", 1
TYPE_CODES = {"int32": 4, "uint16": 8}


class Place(NamedTuple):
    """How much comes before something; of a dataset's end, how much there is."""

    documents: int = 0
    sequences: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class PlacedDataset:
    """``PREFIX.bin.partial`` and ``PREFIX.idx.partial``, any documents of which can be written at any time."""

    prefix: str
    dtype: str
    end: Place

    @cached_property
    def bin(self) -> Path:
        return partial_of(Path(self.prefix + ".bin"))

    @cached_property
    def idx(self) -> Path:
        return partial_of(Path(self.prefix + ".idx"))

    def create(self) -> None:
        """Makes the files with their sizes; where they are there already they stay as they are."""
        item, end = np.dtype(self.dtype).itemsize, self.end
        header = HEADER.pack(MAGIC, VERSION, TYPE_CODES[self.dtype], end.sequences, end.documents + 1)
        for path, head, size in (
            (self.bin, b"", end.tokens * item),
            (self.idx, header, HEADER.size + 12 * end.sequences + 8 * (end.documents + 1)),
        ):
            with open(path, "r+b" if path.exists() else "w+b") as file:
                file.write(head)
                file.truncate(size)

    @contextmanager
    def writing(self) -> Iterator[DatasetFiles]:
        """The files to write documents to, which are on the disk when the block ends."""
        with open(self.bin, "r+b") as tokens, open(self.idx, "r+b") as index:
            yield DatasetFiles(tokens, index, np.dtype(self.dtype).itemsize, self.end.sequences)
            for file in (tokens, index):
                file.flush()
                os.fsync(file.fileno())


class DatasetFiles(NamedTuple):
    """The open files of a dataset of so many sequences."""

    bin: IO[bytes]
    idx: IO[bytes]
    itemsize: int
    sequences: int

    def write(self, at: Place, ids: Path | NDArray[Any], lengths: NDArray[Any]) -> None:
        """Documents of one sequence each, or of none where they have no token.

        Args:
            at: how much comes before them.
            ids: of all, or a file of nothing else.
            lengths: of each document in tokens.
        """
        if isinstance(ids, Path):
            copy_to(ids, self.bin, at.tokens * self.itemsize)
        else:
            self.bin.seek(at.tokens * self.itemsize)
            self.bin.write(ids.data)
        sequences = lengths[lengths > 0].astype(np.int64)
        pointers = (at.tokens + np.cumsum(sequences) - sequences) * self.itemsize
        boundaries = at.sequences + np.cumsum(lengths > 0, dtype=np.int64)
        for offset, array in (
            (4 * at.sequences, sequences.astype("<i4")),
            (4 * self.sequences + 8 * at.sequences, pointers.astype("<i8")),
            (12 * self.sequences + 8 * (at.documents + 1), boundaries.astype("<i8")),
        ):
            self.idx.seek(HEADER.size + offset)
            self.idx.write(array.data)


class Group(NamedTuple):
    """Parts ``first`` to ``stop - 1``, which are used together; ``size`` is that of their ids in bytes."""

    number: int
    first: int
    stop: int
    size: int

    def parts(self) -> dict[str, int]:
        """As the mark of the group names them."""
        return {"first": self.first, "stop": self.stop}


def groups_of(starts: Sequence[Place], itemsize: int) -> Iterator[Group]:
    """Groups of about ``GROUP_BYTES`` of all parts.

    Args:
        starts: where each part begins, and the end of the last.
    """
    number = first = 0
    for stop in range(1, len(starts)):
        size = (starts[stop].tokens - starts[first].tokens) * itemsize
        if size >= GROUP_BYTES or stop == len(starts) - 1:
            yield Group(number, first, stop, size)
            number, first = number + 1, stop


@dataclass(frozen=True)
class JoinJob:
    """What a worker needs to know to bring the parts of one key to their places.

    Args:
        key: its number.
        starts: where each part begins, and the end of the last.
    """

    files: PartFiles
    key: int
    dataset: PlacedDataset
    starts: tuple[Place, ...]

    def task(self, group: Group) -> Task:
        """The mark of a group whose parts have been used; they are named in it."""
        return used_parts(self.files, self.key, group.number)

    def remove_parts(self, group: Group) -> None:
        """Takes the parts of a finished group away, when the disk has its mark."""
        task = self.task(group)
        sync(task.file(task.mark))
        sync(task.stem.parent)
        for part in range(group.first, group.stop):
            for kind in (IDS, LENGTHS):
                self.files.file(part, self.key, kind).unlink(missing_ok=True)


def used_parts(files: PartFiles, key: int, group: int, suffixes: tuple[str, ...] = ()) -> Task:
    return Task(Path(files.folder, f"used.{key}.{group:06d}"), suffixes)


def place(job: JoinJob, group: Group) -> dict[str, Any]:
    """Puts the parts of a group in their places, in the order of the input."""
    with job.task(group).attempt() as (_, mark):
        with job.dataset.writing() as files:
            for part in range(group.first, group.stop):
                lengths = np.fromfile(job.files.file(part, job.key, LENGTHS), LENGTH_TYPE)
                files.write(job.starts[part], job.files.file(part, job.key, IDS), lengths)
        mark.update(group.parts())
    job.remove_parts(group)
    return {}
