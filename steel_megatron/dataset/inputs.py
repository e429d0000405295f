"""Input files of lines: finding them, and reading them as blocks of whole lines in constant memory."""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from steel_megatron.config import DataError
from steel_megatron.dataset.manifest import FileRecord

SUFFIXES = tuple(kind + packed for kind in (".jsonl", ".json", ".ndjson") for packed in ("", ".gz", ".zst"))
BLOCK_BYTES = 1 << 20
_READ_BYTES = 1 << 18
_GZIP_MAGIC, _ZSTD_MAGIC, _BYTE_ORDER_MARK = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Whole lines of one file."""

    path: str
    first_line: int  # its number in the file, from 1
    data: bytes  # ends with a line end, except perhaps at the end of the file
    bytes_read: int  # of the file as it lies on disk, since the block before

    def __str__(self) -> str:
        lines = self.data.count(b"\n") + (not self.data.endswith(b"\n"))
        return f"{self.path}, lines {self.first_line:,} to {self.first_line + lines - 1:,}"


def find_inputs(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that the patterns name, in the order given, those of a folder or a glob sorted; each file once.

    A folder stands for every file below it that ends like JSON lines, plain or packed (``.jsonl``, ``.json``,
    ``.ndjson``, each also with ``.gz`` or ``.zst``).

    Raises:
        DataError: a pattern names nothing.
    """
    found: dict[Path, Path] = {}
    for given in patterns:
        pattern = os.fspath(given)
        path = Path(pattern)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES) and file.is_file())
            rule = f"a folder holds files that end in {', '.join(SUFFIXES[::3])}, also with .gz or .zst"
        elif path.exists():
            files, rule = [path], ""
        else:
            files = sorted(file for file in map(Path, glob.glob(pattern, recursive=True)) if file.is_file())
            rule = "it is a file, a folder, or a pattern that matches files"
        if not files:
            raise DataError(f"no input file at {pattern}", rule=rule, fix="check the path given to --input")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


class InputFile:
    """One pass over a file, plain, gzip or zstd as its first bytes say; it is hashed as it is read."""

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES) -> None:
        self.path = path
        self.block_bytes = block_bytes
        self._digest = hashlib.sha256()
        self._size = 0

    @property
    def record(self) -> FileRecord:
        """Size and hash of the file as it lies on disk; right once :meth:`blocks` is exhausted."""
        return FileRecord(str(self.path), self._size, self._digest.hexdigest())

    def blocks(self) -> Iterator[Block]:
        """Blocks of about ``block_bytes``; a longer line makes a longer block.

        Raises:
            DataError: the file cannot be read, or its packing is damaged or cut.
        """
        pending: list[bytes] = []
        pending_bytes, line, reported = 0, 1, 0
        for chunk in self._chunks():
            end = chunk.rfind(b"\n") + 1 if pending_bytes + len(chunk) >= self.block_bytes else 0
            if end == 0:
                pending.append(chunk)
                pending_bytes += len(chunk)
                continue
            data = b"".join([*pending, chunk[:end]])
            pending, pending_bytes = [chunk[end:]], len(chunk) - end
            yield Block(str(self.path), line, data, self._size - reported)
            line, reported = line + data.count(b"\n"), self._size
        data = b"".join(pending)
        if data or self._size > reported:
            yield Block(str(self.path), line, data, self._size - reported)

    def _chunks(self) -> Iterator[bytes]:
        """The unpacked content without a byte order mark."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                raw: io.BufferedReader = io.BufferedReader(_Watched(file, self), _READ_BYTES)
                chunks = self._unpacked(raw)
                first = next(chunks, b"")
                yield first.removeprefix(_BYTE_ORDER_MARK)
                yield from chunks
                while raw.read(_READ_BYTES):
                    pass  # bytes behind the packed content belong to the hash
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise DataError(
                f"{self.path}: its packing is damaged or cut after {self._size:,} bytes: {error}",
                rule="a .gz or .zst file is whole",
                fix="copy or download the file again",
            ) from None
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from None

    @staticmethod
    def _unpacked(raw: io.BufferedReader) -> Iterator[bytes]:
        magic = raw.peek(4)[:4]
        if magic == _ZSTD_MAGIC:
            yield from _unpack_zstd(raw)
            return
        source: Any = gzip.GzipFile(fileobj=raw) if magic[:2] == _GZIP_MAGIC else raw
        while chunk := source.read(_READ_BYTES):
            yield chunk

    def _saw(self, data: memoryview) -> None:
        self._digest.update(data)
        self._size += len(data)


class _Watched(io.RawIOBase):
    """A raw file whose reader is told of every byte."""

    def __init__(self, file: io.FileIO, owner: InputFile) -> None:
        self._file = file
        self._owner = owner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self._owner._saw(memoryview(buffer)[:count])
        return count


def _unpack_zstd(raw: io.BufferedReader) -> Iterator[bytes]:
    """The content of all frames; unlike the library's stream reader it notices a file that ends within one."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    frame, within = decompressor.decompressobj(), False
    while packed := raw.read(_READ_BYTES):
        while packed:
            within = True
            content = frame.decompress(packed)
            if content:
                yield content
            packed = b""
            if frame.eof:
                packed, within = frame.unused_data, False
                frame = decompressor.decompressobj()
    if within:
        raise EOFError("the last frame has no end")
