"""The tasks of a run in their order: parts to tokenise, and between them what finished parts allow.

As soon as all parts of a group and those before it are counted, the group's ids are put in their place; as soon as all
ids of a block of ``.bin`` are in their places, it is hashed. Both read what the system still holds in memory.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from steel_megatron.jobs.hashes import BLOCK_BYTES, blocks_of
from steel_megatron.jobs.parts import Part
from steel_megatron.jobs.tasks import Task
from steel_megatron.tokens.tokenise.join import Group, Groups, place_ids, used_parts
from steel_megatron.tokens.tokenise.part import PartCounts, PartFiles, PartJob, tokenize_part


class Block(NamedTuple):
    """A stretch of a key's ``.bin`` that is hashed at once."""

    key: int
    number: int
    start: int
    stop: int


Work = Part | Group | Block


def blocks_upto(key: int, size: int) -> list[Block]:
    """All blocks of so many bytes; one of an empty file."""
    count = max(math.ceil(size / BLOCK_BYTES), 1)
    return [Block(key, n, n * BLOCK_BYTES, min((n + 1) * BLOCK_BYTES, size)) for n in range(count)]


def mark_of(files: PartFiles, work: Group | Block) -> Task:
    """The mark of a group that is in its place, or of a block that is hashed."""
    if isinstance(work, Group):
        return used_parts(files, work.key, work.number)
    return Task(Path(files.folder, f"hashed.{work.key}.{work.number:06d}"), ())


def work_on(job: PartJob, work: Work) -> Any:
    """Does one task."""
    if isinstance(work, Part):
        return tokenize_part(job, work)
    path = Path(job.bins[work.key])
    return place_ids(job.files, path, work) if isinstance(work, Group) else _hash_block(job.files, path, work)


def _hash_block(files: PartFiles, path: Path, block: Block) -> dict[str, Any]:
    digest = hashlib.sha256()
    for data in blocks_of(path, block.start, block.stop):
        digest.update(data)
    with mark_of(files, block).attempt() as (_, mark):
        mark["sha256"] = digest.hexdigest()
    return mark


class Flow:
    """
    Args:
        keys: how many there are; none where ids are not put in their places yet, as before a shuffle.
    """

    def __init__(self, keys: int, itemsize: int) -> None:
        self._groups = [Groups(itemsize, key) for key in range(keys)]
        self._placed = [0] * keys  # bytes of each .bin from its beginning on that are in their places
        self._hashed = [0] * keys  # blocks that are hashed, or about to be
        self._ready: deque[Group | Block] = deque()

    def tasks(self, parts: Iterator[Part]) -> Iterator[Work]:
        """The parts, and behind each what has become possible meanwhile. What is left at the end is not among them."""
        for part in parts:
            yield part
            while self._ready:
                yield self._ready.popleft()

    def take(self, work: Work, result: Any) -> None:
        """Notes that a task is done."""
        if isinstance(work, Group):
            self._place(work)
        elif isinstance(work, Part):
            self._count(result)

    def _count(self, counts: PartCounts) -> None:
        for groups, of_key in zip(self._groups, counts.keys[: len(self._groups)], strict=True):
            if (group := groups.add(of_key.tokens)) is not None:
                self._ready.append(group)

    def _place(self, group: Group) -> None:
        key = group.key
        self._placed[key] = group.at + group.ids_bytes  # they come in order
        while (self._hashed[key] + 1) * BLOCK_BYTES <= self._placed[key]:
            number = self._hashed[key]
            self._ready.append(Block(key, number, number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES))
            self._hashed[key] += 1
