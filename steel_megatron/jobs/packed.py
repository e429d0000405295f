"""Writing packed files, of which several one behind the other are one."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import zstandard

GZIP_LEVEL, ZSTD_LEVEL = 6, 3
WRITE_BYTES = 1 << 20  # handed to the system at once


@contextmanager
def open_packed(path: Path, packing: str) -> Iterator[IO[bytes]]:
    """A file to write, as one gzip member or zstd frame: its bytes depend on what is written alone.

    Args:
        packing: ``gz``, ``zst`` or empty for none.
    """
    with open(path, "wb", WRITE_BYTES) as file:
        packed: Any = file
        if packing == "gz":
            packed = gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0)
        elif packing == "zst":
            packed = zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(file, closefd=False)
        with packed:
            yield cast("IO[bytes]", packed)
