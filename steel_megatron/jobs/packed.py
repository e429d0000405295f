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
FRAME_BYTES = 64 << 20  # of content: a longer one is several frames, so that its reader can cut it


@contextmanager
def open_packed(path: Path, packing: str) -> Iterator[IO[bytes]]:
    """A file to write, as one gzip member or as zstd frames: its bytes depend on what is written alone.

    A frame ends behind what was given to one ``write``, so a reader of lines that were written whole cuts between them.

    Args:
        packing: ``gz``, ``zst`` or empty for none.
    """
    with open(path, "wb", WRITE_BYTES) as file:
        packed: Any = file
        if packing == "gz":
            packed = gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0)
        elif packing == "zst":
            packed = _Frames(file)
        with packed:
            yield cast("IO[bytes]", packed)


class _Frames:
    """Writes zstd frames, each ended when it holds ``FRAME_BYTES``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._writer = zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(file, closefd=False)
        self._held = 0

    def __enter__(self) -> _Frames:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def write(self, data: bytes) -> int:
        if self._held >= FRAME_BYTES:
            self._writer.flush(zstandard.FLUSH_FRAME)
            self._held = 0
        self._held += len(data)
        return self._writer.write(data)
