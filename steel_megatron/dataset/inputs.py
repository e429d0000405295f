"""Input files of lines: finding them, and reading them as blocks of whole lines in constant memory."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from steel_megatron.config import DataError
from steel_megatron.corpus.inputs import data_files
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.unpack import read_chunks

SUFFIXES = tuple(kind + packed for kind in (".jsonl", ".json", ".ndjson") for packed in ("", ".gz", ".zst"))
BLOCK_BYTES = 1 << 20
LINE_LIMIT = 256 << 20  # bytes of a line; a longer one is not held in memory
CUT_BYTES = 8000  # kept of a line that is too long
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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


def find_inputs(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that the patterns name, in the order given, those of a folder or a glob sorted; each file once.

    A folder stands for every file below it that ends like JSON lines, plain or packed (``.jsonl``, ``.json``,
    ``.ndjson``, each also with ``.gz`` or ``.zst``). Manifests and rejects that our own commands left are not data.

    Raises:
        DataError: a pattern names nothing.
    """
    found: dict[Path, Path] = {}
    for given in patterns:
        pattern = os.fspath(given)
        path = Path(pattern)
        if path.is_dir():
            files = [file for file in data_files(path.rglob("*")) if file.name.endswith(SUFFIXES)]
            rule = f"a folder holds files that end in {', '.join(SUFFIXES[::3])}, also with .gz or .zst"
        elif path.exists():
            files, rule = [path], ""
        else:
            files = data_files(map(Path, glob.glob(pattern, recursive=True)))
            rule = "it is a file, a folder, or a pattern that matches files"
        if not files:
            raise DataError(f"no input file at {pattern}", rule=rule, fix="check the path given to --input")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


class InputFile:
    """One pass over a file, plain, gzip or zstd as its first bytes say; it is hashed as it is read."""

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES, line_limit: int = LINE_LIMIT) -> None:
        self.path = path
        self.block_bytes = block_bytes
        self.line_limit = line_limit
        self._digest = hashlib.sha256()
        self._size = 0

    @property
    def record(self) -> FileRecord:
        """Size and hash of the file as it lies on disk; right once :meth:`blocks` is exhausted."""
        return FileRecord(str(self.path), self._size, self._digest.hexdigest())

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
                yield Block(str(self.path), line, data, self._size - reported, cut_line)
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
            yield Block(str(self.path), line, data, self._size - reported)
            line, reported = line + data.count(b"\n"), self._size
        data = b"".join(pending)
        if data or cut_line or self._size > reported:
            yield Block(str(self.path), line, data, self._size - reported, cut_line)

    def _chunks(self) -> Iterator[bytes]:
        """The unpacked content without a byte order mark."""
        chunks = read_chunks(self.path, on_read=self._saw)
        yield next(chunks, b"").removeprefix(BYTE_ORDER_MARK)
        yield from chunks

    def _saw(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
