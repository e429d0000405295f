"""The content of a file, plain or packed (gzip, zstd, bzip2, xz) as its first bytes say, in byte strings."""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import zstandard

from steel_megatron.config import DataError
from steel_megatron.jobs.files import is_url, open_file

PACKED_SUFFIXES = (".gz", ".zst", ".bz2", ".xz", ".zstd", ".lzma")
# Packings that are not read, by the first bytes of a file.
UNREAD = {
    ".7z": b"7z\xbc\xaf\x27\x1c",
    ".rar": b"Rar!\x1a\x07",
    ".lz4": b"\x04\x22\x4d\x18",
    ".Z": b"\x1f\x9d",
    ".lz": b"LZIP\x01",
}
UNREAD_SUFFIXES = tuple(UNREAD)
PACKING_ERRORS = (EOFError, zlib.error, zstandard.ZstdError, lzma.LZMAError)
HEAD_BYTES = 6  # that tell the packing
READ_BYTES = 1 << 18
_SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte from 0x50 to 0x5f: a zstd frame to be skipped, as pzstd begins with
_GZIP_WINDOW = 31  # zlib's way to say: with a gzip header
_WINDOW_LIMIT = 1 << 31  # frames made with zstd --long=31 are taken


def read_content(
    path: str | os.PathLike[str],
    start: int = 0,
    stop: int | None = None,
    on_read: Callable[[bytes], Any] | None = None,
    frames: bool = False,
) -> Iterator[bytes]:
    """The unpacked content.

    Args:
        path: a file of this machine, or a URL that fsspec knows.
        start, stop: bytes of the file as it lies on disk; only for a plain file, or between two frames of a packed one.
        frames: a frame begins at ``start``.
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
            blocks = read_blocks(file, None if stop is None else stop - start, count)
            yield from unpacked(blocks, plain=start > 0 and not frames)
    except PACKING_ERRORS as error:
        raise DataError(
            f"{path}: its packing is damaged or cut after {seen:,} bytes: {error}",
            rule="a packed file is whole",
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
    """The blocks as they are, or what they hold where the first one begins like a packing and not ``plain``."""
    first = next(blocks, b"")
    packing = None if plain else packing_of(first[:HEAD_BYTES])

    def whole() -> Iterator[bytes]:
        yield first
        yield from blocks

    if first:
        yield from whole() if packing is None else unpack(whole(), packing)


def packing_of(magic: bytes) -> str | None:
    """``gz``, ``zst``, ``bz2``, ``xz`` or None by the first six bytes of a file."""
    if magic.startswith(b"\x1f\x8b"):
        return "gz"
    if magic.startswith(b"\x28\xb5\x2f\xfd") or (magic[1:4] == _SKIPPABLE and magic[0] >> 4 == 5):
        return "zst"
    if magic.startswith(b"BZh") and magic[3:4].isdigit() and magic[4:6] in (b"1A", b"\x17\x72"):
        return "bz2"
    return "xz" if magic.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")) else None


def can_be_cut(location: str | os.PathLike[str]) -> bool:
    """Whether stretches of the file can be read alone: it is plain, and no pipe.

    Raises:
        OSError: it cannot be read.
    """
    if not is_url(location) and not stat.S_ISREG(os.stat(location).st_mode):
        return False
    with open_file(location) as file:
        head = file.read(HEAD_BYTES)
        return file.seekable() and packing_of(head) is None and not unread_packing(head)


def refuse_unread(path: str | os.PathLike[str]) -> None:
    """
    Raises:
        DataError: a file of this machine is packed in a way that is not read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        return
    try:
        with open_file(path) as file:
            unread = unread_packing(file.read(HEAD_BYTES))
    except OSError as error:
        raise DataError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from None
    if unread:
        raise DataError(
            f"{os.fspath(path)} is packed as {unread}",
            rule=f"packings that are read are {', '.join(PACKED_SUFFIXES)} and, by steel convert, .zip and .tar",
            fix=f"unpack it first, for example with {'7z x' if unread in ('.7z', '.rar') else 'the tool that made it'}",
        )


def unread_packing(magic: bytes) -> str:
    """The ending of a packing that is not read, by the first bytes of a file; else an empty text."""
    return next((ending for ending, begin in UNREAD.items() if magic.startswith(begin)), "")


def unpack(packed: Iterator[bytes], packing: str) -> Iterator[bytes]:
    """The content of all members or frames, one behind the other.

    Raises:
        EOFError: the last one has no end. (The libraries' own stream readers do not all say so.)
    """
    frame, within = _decompressor(packing), False
    for data in packed:
        while data:
            within = True
            try:
                content = frame.decompress(data)
            except OSError as error:  # as bz2 says that data is damaged
                raise EOFError(str(error)) from None
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
    if packing == "bz2":
        return bz2.BZ2Decompressor()
    if packing == "xz":
        return lzma.LZMADecompressor()
    return zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT).decompressobj()
