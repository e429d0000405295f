"""A file by size and content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from steel_megatron.jobs.files import open_file

HASH_BLOCK = 8 << 20  # bytes read at once
THREADS = 4  # that hash files beside one another
BLOCK_BYTES = 1 << 30  # of a large file, which several workers hash
_OF_BLOCKS = "blocks-of-1GiB:"


@dataclass(frozen=True)
class FileRecord:
    """A file by size and SHA-256; ``path`` says where it was.

    Of a dataset's large ``.bin`` it is :func:`of_blocks`, and says so.
    """

    path: str
    bytes: int
    sha256: str


def hash_file(path: str | os.PathLike[str], progress: Callable[[int], Any] | None = None) -> FileRecord:
    """Size and hash of a file of this machine or at a URL; ``progress`` is called with the bytes of each block read."""
    digest, size = hashlib.sha256(), 0
    with open_file(path) as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
            size += len(block)
            if progress is not None:
                progress(len(block))
    return FileRecord(os.fspath(path), size, digest.hexdigest())


def of_blocks(digests: Sequence[str]) -> str:
    """The hash of a file from the SHA-256s of its blocks: that of a single block is the file's own."""
    if len(digests) == 1:
        return digests[0]
    return _OF_BLOCKS + hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


class BlockHash:
    """:func:`of_blocks` of bytes as they come."""

    def __init__(self) -> None:
        self._before: list[str] = []
        self._digest, self._left = hashlib.sha256(), BLOCK_BYTES

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view) > self._left:
            self._digest.update(view[: self._left])
            view = view[self._left :]
            self._before.append(self._digest.hexdigest())
            self._digest, self._left = hashlib.sha256(), BLOCK_BYTES
        self._digest.update(view)
        self._left -= len(view)

    def hexdigest(self) -> str:
        return of_blocks([*self._before, self._digest.hexdigest()])


def hash_like(expected: str) -> BlockHash | hashlib._Hash:
    """What computes a hash of the kind of another one: of blocks or, as earlier versions wrote it, of all bytes."""
    return BlockHash() if expected.startswith(_OF_BLOCKS) else hashlib.sha256()


def xxh3_of(path: Path, start: int = 0, stop: int | None = None) -> str:
    """xxh3-128 of a file's bytes: fast, and enough against damage (not against forgery)."""
    digest = xxhash.xxh3_128()
    for block in blocks_of(path, start, stop):
        digest.update(block)
    return digest.hexdigest()


def blocks_of(path: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of a stretch of a file of this machine, some at a time."""
    with open(path, "rb") as file:
        file.seek(start)
        while block := file.read(HASH_BLOCK if stop is None else min(HASH_BLOCK, stop - start)):
            start += len(block)
            yield block


class RunningHashes:
    """Hashes files in threads, stretch by stretch as they become known, while their pages are in memory."""

    def __init__(self) -> None:
        self._threads = [ThreadPoolExecutor(1) for _ in range(THREADS)]
        self._numbers: dict[Hashable, int] = {}
        self._digests: dict[Hashable, hashlib._Hash] = {}
        self._sizes: dict[Hashable, int] = {}
        self._fed: list[Future[None]] = []

    def feed(self, name: Hashable, path: str | os.PathLike[str], start: int, stop: int) -> None:
        """The next bytes of what has a name: those of a file from ``start`` to ``stop``."""
        number = self._numbers.setdefault(name, len(self._numbers))
        self._fed.append(self._threads[number % THREADS].submit(self._take, name, path, start, stop))

    def record(self, name: Hashable, path: str) -> FileRecord:
        """Of all that was fed under a name.

        Raises:
            OSError: a file could not be read.
        """
        for fed in self._fed:
            fed.result()
        self._fed.clear()
        return FileRecord(path, self._sizes.get(name, 0), self._digests.get(name, hashlib.sha256()).hexdigest())

    def close(self) -> None:
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)

    def _take(self, name: Hashable, path: str | os.PathLike[str], start: int, stop: int) -> None:
        digest = self._digests.setdefault(name, hashlib.sha256())
        self._sizes[name] = self._sizes.get(name, 0) + stop - start
        for block in blocks_of(path, start, stop):
            digest.update(block)
