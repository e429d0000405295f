"""A file by size and content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from steel_megatron.jobs.files import open_file

HASH_BLOCK = 8 << 20  # bytes read at once
THREADS = 4  # that hash files beside one another


@dataclass(frozen=True)
class FileRecord:
    """A file by size and SHA-256; ``path`` says where it was."""

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


def xxh3_of(path: Path) -> str:
    """xxh3-128 of a file's bytes: fast, and enough against damage (not against forgery)."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


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
        with open(path, "rb") as file:
            file.seek(start)
            while start < stop and (block := file.read(min(HASH_BLOCK, stop - start))):
                digest.update(block)
                start += len(block)
