"""Input files of lines, read as blocks of whole lines in constant memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from steel_megatron.jobs.files import BYTE_ORDER_MARK
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.unpack import read_chunks

BLOCK_BYTES = 1 << 20
LINE_LIMIT = 256 << 20  # bytes of a line; a longer one is not held in memory
CUT_BYTES = 8000  # kept of a line that is too long


class LineData(NamedTuple):
    """Whole lines, and the beginning of one more that is too long to be taken (empty when there is none)."""

    data: bytes
    cut_line: bytes


@dataclass(frozen=True)
class Block:
    """Whole lines of one file."""

    path: str
    first_line: int  # its number in the file, from 1
    data: bytes  # ends with a line end, except perhaps at the end of the file
    bytes_read: int  # of the file as it lies on disk, since the block before
    cut_line: bytes = b""  # beginning of one more line, which is longer than LINE_LIMIT

    def read(self) -> LineData:
        return LineData(self.data, self.cut_line)

    def __str__(self) -> str:
        lines = self.data.count(b"\n") + (not self.data.endswith(b"\n"))
        return f"{self.path}, lines {self.first_line:,} to {self.first_line + lines - 1:,}"


class InputFile:
    """One pass over a file of this machine or at a URL, plain or packed; it is hashed as it is read."""

    def __init__(
        self, path: str | os.PathLike[str], block_bytes: int = BLOCK_BYTES, line_limit: int = LINE_LIMIT
    ) -> None:
        self.path = os.fspath(path)
        self.block_bytes = block_bytes
        self.line_limit = line_limit
        self._digest = hashlib.sha256()
        self._size = 0

    @property
    def record(self) -> FileRecord:
        """Size and hash of the file as it lies on disk; right once :meth:`blocks` is exhausted."""
        return FileRecord(self.path, self._size, self._digest.hexdigest())

    def blocks(self) -> Iterator[Block]:
        """Blocks of about ``block_bytes``; a longer line makes a longer block, one above ``line_limit`` is cut.

        Raises:
            DataError: the file cannot be read, or its packing is damaged or cut.
        """
        pending: list[bytes] = []
        pending_bytes, line, reported = 0, 1, 0
        cut_line = b""
        for chunk in self._chunks():
            if cut_line:  # until that line ends
                begin = chunk.find(b"\n") + 1
                if begin == 0:
                    continue
                data = b"".join(pending)
                yield Block(self.path, line, data, self._size - reported, cut_line)
                line, reported = line + data.count(b"\n") + 1, self._size
                chunk, cut_line, pending, pending_bytes = chunk[begin:], b"", [], 0
            end = chunk.rfind(b"\n") + 1 if pending_bytes + len(chunk) >= self.block_bytes else 0
            if end == 0:
                pending.append(chunk)
                pending_bytes += len(chunk)
                if pending_bytes > self.block_bytes + self.line_limit:
                    lines, _, start = b"".join(pending).rpartition(b"\n")
                    if len(start) > self.line_limit:
                        pending, cut_line = [lines + b"\n" * bool(lines)], start[:CUT_BYTES]
                continue
            data = b"".join([*pending, chunk[:end]])
            pending, pending_bytes = [chunk[end:]], len(chunk) - end
            yield Block(self.path, line, data, self._size - reported)
            line, reported = line + data.count(b"\n"), self._size
        data = b"".join(pending)
        if data or cut_line or self._size > reported:
            yield Block(self.path, line, data, self._size - reported, cut_line)

    def _chunks(self) -> Iterator[bytes]:
        """The unpacked content without a byte order mark."""
        chunks = read_chunks(self.path, on_read=self._saw)
        yield next(chunks, b"").removeprefix(BYTE_ORDER_MARK)
        yield from chunks

    def _saw(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
