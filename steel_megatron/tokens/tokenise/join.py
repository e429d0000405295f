"""Files of parts put at their places in a dataset: their sizes are known, so several workers write at once.

Ids are put in their places while other parts are being tokenised, as soon as all before them are counted: the system
still holds them in memory, and most never reach the disk twice. A mark with their hash tells that they are there, and
only then the parts go; by it a run after a power cut sees what the disk never got.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steel_megatron.jobs.durable import copy_to, partial_of, sync
from steel_megatron.jobs.hashes import xxh3_of
from steel_megatron.jobs.tasks import Task
from steel_megatron.tokens.token_type import stored
from steel_megatron.tokens.tokenise.part import IDS, LENGTH_TYPE, LENGTHS, PartFiles

GROUP_BYTES = 128 << 20  # of ids that are put in their places together
# Megatron's index: magic, version, type of the ids, sequences, documents + 1; then lengths, pointers, boundaries.
HEADER = struct.Struct("<9sQBQQ")
MAGIC, VERSION = b"MMIDIDX\0\0", 1
TYPE_CODES = {"int32": 4, "uint16": 8, "uint24": 24}


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
        item, end = stored(self.dtype).itemsize, self.end
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
        """The files to write documents to."""
        with open(self.bin, "r+b") as tokens, open(self.idx, "r+b") as index:
            yield DatasetFiles(tokens, index, stored(self.dtype).itemsize, self.end.sequences)

    def sync(self) -> None:
        """Waits until the disk has all that was written."""
        for path in (self.bin, self.idx):
            sync(path)


class DatasetFiles(NamedTuple):
    """The open files of a dataset of so many sequences."""

    bin: IO[bytes]
    idx: IO[bytes]
    itemsize: int
    sequences: int

    def write(self, at: Place, ids: NDArray[Any], lengths: NDArray[Any]) -> None:
        """Documents of one sequence each, or of none where they have no token.

        Args:
            at: how much comes before them.
            ids: of all.
            lengths: of each document in tokens.
        """
        self.bin.seek(at.tokens * self.itemsize)
        self.bin.write(ids.data)
        self.write_index(at, lengths)

    def write_index(self, at: Place, lengths: NDArray[Any]) -> None:
        """Of such documents, what stands in the index."""
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
    """Parts ``first`` to ``stop - 1`` of a key, which are used together.

    Args:
        ids_bytes: of all their ids.
        at: byte of ``.bin`` at which their ids begin.
    """

    number: int
    first: int
    stop: int
    ids_bytes: int
    at: int = 0
    key: int = 0

    def parts(self) -> dict[str, Any]:
        """As the mark of the group names them."""
        return {"first": self.first, "stop": self.stop}


class Groups:
    """Groups of about ``GROUP_BYTES`` of the parts of a key, as the parts become known."""

    def __init__(self, itemsize: int, key: int = 0) -> None:
        self.itemsize = itemsize
        self._next = Group(0, 0, 0, 0, 0, key)

    def add(self, tokens: int) -> Group | None:
        """Takes the next part; the group that it completes."""
        group = self._next
        self._next = group._replace(stop=group.stop + 1, ids_bytes=group.ids_bytes + tokens * self.itemsize)
        return self.rest() if self._next.ids_bytes >= GROUP_BYTES else None

    def rest(self) -> Group | None:
        """The group of the parts that are left over, if there are any."""
        group = self._next
        self._next = Group(group.number + 1, group.stop, group.stop, 0, group.at + group.ids_bytes, group.key)
        return group if group.stop > group.first else None


def groups_of(starts: Sequence[Place], itemsize: int, key: int = 0) -> list[Group]:
    """All groups.

    Args:
        starts: where each part begins, and the end of the last.
    """
    groups = Groups(itemsize, key)
    found = [groups.add(stop.tokens - start.tokens) for start, stop in itertools.pairwise(starts)]
    return [group for group in (*found, groups.rest()) if group is not None]


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


def used_parts(files: PartFiles, key: int, group: int, suffixes: tuple[str, ...] = ()) -> Task:
    """The mark of a group whose parts have been used; they are named in it."""
    return Task(Path(files.folder, f"used.{key}.{group:06d}"), suffixes)


def remove_parts(files: PartFiles, group: Group, kinds: Sequence[str]) -> None:
    """Takes files of the parts of a finished group away."""
    for part in range(group.first, group.stop):
        for kind in kinds:
            files.file(part, group.key, kind).unlink(missing_ok=True)


def place_ids(files: PartFiles, path: Path, group: Group) -> dict[str, Any]:
    """Puts the ids of a group in their place in a ``.bin`` that is being made."""
    with used_parts(files, group.key, group.number).attempt() as (_, mark):
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            at = group.at
            for part in range(group.first, group.stop):
                ids = files.file(part, group.key, IDS)
                copy_to(ids, file, at)
                at += ids.stat().st_size
        made = {"at": group.at, "stop_at": at, "xxh3": xxh3_of(path, group.at, at)}
        mark.update(group.parts() | made)
    remove_parts(files, group, [IDS])
    return {}


def is_placed(mark: Mapping[str, Any], path: Path, same_boot: bool) -> bool:
    """Whether the ids of a group are where its mark says.

    Args:
        same_boot: the machine has not been started since, so what was written is there.
    """
    if "xxh3" not in mark:  # they are sorted, in a file of their own that was waited for
        return True
    start, stop = mark["at"], mark["stop_at"]
    return path.exists() and path.stat().st_size >= stop and (same_boot or xxh3_of(path, start, stop) == mark["xxh3"])


def place_index(job: JoinJob, group: Group) -> dict[str, Any]:
    """Writes the index of the documents of a group."""
    with job.dataset.writing() as files:
        for part in range(group.first, group.stop):
            files.write_index(job.starts[part], np.fromfile(job.files.file(part, job.key, LENGTHS), LENGTH_TYPE))
    return {}
