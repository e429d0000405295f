"""The content of a file, plain, gzip or zstd as its first bytes say, in chunks."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import zstandard

from steel_megatron.config import DataError
from steel_megatron.jobs.files import open_file

PACKED_SUFFIXES = (".gz", ".zst")
READ_BYTES = 1 << 18
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_GZIP_WINDOW = 31  # zlib's way to say: with a gzip header
_WINDOW_LIMIT = 1 << 31  # frames made with zstd --long=31 are taken


def read_chunks(
    path: str | os.PathLike[str],
    start: int = 0,
    stop: int | None = None,
    on_read: Callable[[bytes], Any] | None = None,
) -> Iterator[bytes]:
    """The unpacked content.

    Args:
        path: a file of this machine, or a URL that fsspec knows.
        start, stop: bytes of the file as it lies on disk; only for a plain file.
        on_read: called with every block of bytes read from disk.

    Raises:
        DataError: the file cannot be read, or its packing is damaged or cut.
    """
    seen = 0

    def count(data: bytes) -> None:
        nonlocal seen
        seen += len(data)
        if on_read is not None:
            on_read(data)

    try:
        with open_file(path) as file:
            if start:  # a pipe cannot seek
                file.seek(start)
            yield from unpacked(read_blocks(file, None if stop is None else stop - start, count), plain=start > 0)
    except (EOFError, zlib.error, zstandard.ZstdError) as error:
        raise DataError(
            f"{path}: its packing is damaged or cut after {seen:,} bytes: {error}",
            rule="a .gz or .zst file is whole",
            fix="copy or download it again",
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def read_blocks(
    file: IO[bytes], count: int | None = None, on_read: Callable[[bytes], Any] | None = None
) -> Iterator[bytes]:
    """The next ``count`` bytes of a file, or all."""
    left = count
    while data := file.read(READ_BYTES if left is None else min(READ_BYTES, left)):
        left = None if left is None else left - len(data)
        if on_read is not None:
            on_read(data)
        yield data


def unpacked(blocks: Iterator[bytes], plain: bool = False) -> Iterator[bytes]:
    """The blocks as they are, or what they hold where the first one begins like gzip or zstd and not ``plain``."""
    first = next(blocks, b"")
    packing = None if plain else packing_of(first[:4])

    def whole() -> Iterator[bytes]:
        yield first
        yield from blocks

    if first:
        yield from whole() if packing is None else unpack(whole(), packing)


def packing_of(magic: bytes) -> str | None:
    """``gz``, ``zst`` or None by the first four bytes of a file."""
    if magic.startswith(_GZIP_MAGIC):
        return "gz"
    return "zst" if magic.startswith(_ZSTD_MAGIC) else None


def unpack(packed: Iterator[bytes], packing: str) -> Iterator[bytes]:
    """The content of all members or frames, one behind the other.

    Raises:
        EOFError: the last one has no end. (The libraries' own stream readers do not all say so.)
    """
    frame, within = _decompressor(packing), False
    for data in packed:
        while data:
            within = True
            content = frame.decompress(data)
            if content:
                yield content
            data = b""
            if frame.eof:
                data, within = frame.unused_data.lstrip(b"\0"), False  # tools pad gzip files with zeros
                frame = _decompressor(packing)
    if within:
        raise EOFError("the file ends too early")


def _decompressor(packing: str) -> Any:
    if packing == "gz":
        return zlib.decompressobj(_GZIP_WINDOW)
    return zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT).decompressobj()
