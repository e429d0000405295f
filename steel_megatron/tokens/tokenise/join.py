"""Files of parts put at their places in a dataset: their sizes are known, so several workers write at once.

What is in its place and on the disk is marked, and only then the parts go: the disk holds the ids once and a little
more, and a run that is killed in between goes on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

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

    def write(self, at: Place, ids: Path | NDArray[Any], lengths: NDArray[Any]) -> None:
        """Documents of one sequence each, or of none where they have no token.

        Args:
            at: how much comes before them.
            ids: of all, or a file of nothing else.
            lengths: of each document in tokens.
        """
        item = np.dtype(self.dtype).itemsize
        with open(self.bin, "r+b") as file:
            if isinstance(ids, Path):
                copy_to(ids, file, at.tokens * item)
            else:
                file.seek(at.tokens * item)
                file.write(ids.data)
        sequences = lengths[lengths > 0].astype(np.int64)
        pointers = (at.tokens + np.cumsum(sequences) - sequences) * item
        boundaries = at.sequences + np.cumsum(lengths > 0, dtype=np.int64)
        behind = HEADER.size + 12 * self.end.sequences
        with open(self.idx, "r+b") as file:
            for offset, array in (
                (HEADER.size + 4 * at.sequences, sequences.astype("<i4")),
                (HEADER.size + 4 * self.end.sequences + 8 * at.sequences, pointers.astype("<i8")),
                (behind + 8 * (at.documents + 1), boundaries.astype("<i8")),
            ):
                file.seek(offset)
                file.write(array.data)

    def sync(self) -> None:
        sync(self.bin)
        sync(self.idx)


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
        for part in range(group.first, group.stop):
            lengths = np.fromfile(job.files.file(part, job.key, LENGTHS), LENGTH_TYPE)
            job.dataset.write(job.starts[part], job.files.file(part, job.key, IDS), lengths)
        job.dataset.sync()
        mark.update(group.parts())
    job.remove_parts(group)
    return {}
