"""A plain file cut by byte ranges, so that workers read it themselves: the range of a line is the one it begins in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from steel_megatron.config import DataError
from steel_megatron.jobs.files import BYTE_ORDER_MARK
from steel_megatron.tokens.tokenise.inputs import CUT_BYTES, LINE_LIMIT, LineData

_SEARCH_BYTES = 1 << 16


@dataclass(frozen=True)
class FileSpan:
    """Bytes [start, stop) of a file; it stands for the lines that begin there."""

    path: str
    start: int
    stop: int
    line_limit: int = LINE_LIMIT

    @property
    def first_line(self) -> int:
        """Lines are numbered within the span."""
        return 1

    @property
    def bytes_read(self) -> int:
        return self.stop - self.start

    def read(self) -> LineData:
        """The lines, the last one to its end.

        Raises:
            DataError: the file cannot be read, or has become shorter.
        """
        try:
            with open(self.path, "rb", buffering=0) as file:
                descriptor = file.fileno()
                if os.fstat(descriptor).st_size < self.stop:
                    raise DataError(f"{self.path} has become shorter while it was read")
                begin = _line_start(descriptor, self.start, self.stop)
                if begin >= self.stop:
                    return LineData(b"", b"")
                data = _read(descriptor, begin, self.stop - begin)
                if not data.endswith(b"\n"):
                    last = data.rfind(b"\n") + 1
                    end = _line_start(descriptor, self.stop, begin + last + self.line_limit)
                    if end > begin + last + self.line_limit:
                        return LineData(data[:last], os.pread(descriptor, CUT_BYTES, begin + last))
                    data += _read(descriptor, self.stop, end - self.stop)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from None
        return LineData(data.removeprefix(BYTE_ORDER_MARK) if self.start == 0 else data, b"")

    def __str__(self) -> str:
        return f"{self.path}, bytes {self.start:,} to {self.stop:,}"


def file_spans(path: str, span_bytes: int, line_limit: int = LINE_LIMIT) -> Iterator[FileSpan]:
    """The spans of a file in order."""
    size = os.stat(path).st_size
    for start in range(0, size, span_bytes):
        yield FileSpan(path, start, min(start + span_bytes, size), line_limit)


def _line_start(descriptor: int, position: int, limit: int) -> int:
    """The first byte from ``position`` on that a line begins with, or the end of the file; above ``limit`` it may be
    too small."""
    if position == 0:
        return 0
    at = position - 1
    while at <= limit:
        block = os.pread(descriptor, _SEARCH_BYTES, at)
        if not block:
            return at
        found = block.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(block)
    return at + 1


def _read(descriptor: int, start: int, size: int) -> bytes:
    pieces = []
    while size > 0:
        piece = os.pread(descriptor, size, start)
        if not piece:
            raise OSError("the file has become shorter while it was read")
        pieces.append(piece)
        start, size = start + len(piece), size - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
