"""The content of a file, plain, gzip or zstd as its first bytes say, in chunks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

from steel_megatron.config import DataError

PACKED_SUFFIXES = (".gz", ".zst")
READ_BYTES = 1 << 18
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_GZIP_WINDOW = 31  # zlib's way to say: with a gzip header
_WINDOW_LIMIT = 1 << 31  # frames made with zstd --long=31 are taken


def read_chunks(
    path: Path, start: int = 0, stop: int | None = None, on_read: Callable[[bytes], Any] | None = None
) -> Iterator[bytes]:
    """The unpacked content.

    Args:
        start, stop: bytes of the file as it lies on disk; only for a plain file.
        on_read: called with every block of bytes read from disk.

    Raises:
        DataError: the file cannot be read, or its packing is damaged or cut.
    """
    seen = 0
    try:
        with open(path, "rb") as file:
            packing = packing_of(file.peek(4)[:4])
            if start:  # a pipe cannot seek
                file.seek(start)

            def raw() -> Iterator[bytes]:
                nonlocal seen
                left = None if stop is None else stop - start
                while data := file.read(READ_BYTES if left is None else min(READ_BYTES, left)):
                    seen += len(data)
                    left = None if left is None else left - len(data)
                    if on_read is not None:
                        on_read(data)
                    yield data

            yield from raw() if packing is None else unpack(raw(), packing)
    except (EOFError, zlib.error, zstandard.ZstdError) as error:
        raise DataError(
            f"{path}: its packing is damaged or cut after {seen:,} bytes: {error}",
            rule="a .gz or .zst file is whole",
            fix="copy or download it again",
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


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
