"""A file by size and content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from steel_megatron.jobs.files import open_file

HASH_BLOCK = 8 << 20  # bytes read at once


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
