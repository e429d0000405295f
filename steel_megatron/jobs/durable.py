"""Files that take their names when they are whole, and that survive a power cut."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PARTIAL = ".partial"  # ends the name of what is not whole yet
COPY_BYTES = 8 << 20


def sync(path: Path) -> None:
    """Waits until the disk has a file's bytes, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_of(path: Path) -> Path:
    """The name that a file has until it is whole."""
    return path.with_name(path.name + PARTIAL)


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write under another name; when the block ends it is brought to the disk and takes its own.

    When the block fails, what was there before is as it was.
    """
    partial = partial_of(path)
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a file in one step. Half surrogates, of file names that are no UTF-8, are written as escapes."""
    with whole(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Writes a JSON file in one step."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=indent) + "\n")


def join(pieces: Iterable[Path], target: Path, on_block: Callable[[int], Any] = lambda count: None) -> tuple[int, str]:
    """Writes the pieces one behind the other, whole or not at all; returns the bytes and the SHA-256 of all.

    Args:
        on_block: called with counts of bytes.
    """
    digest, size = hashlib.sha256(), 0
    with whole(target) as joined:
        for piece in pieces:
            with open(piece, "rb") as file:
                while block := file.read(COPY_BYTES):
                    digest.update(block)
                    joined.write(block)
                    size += len(block)
                    on_block(len(block))
    return size, digest.hexdigest()
