"""The inputs of a tokenising run as one stream of blocks, hashed on the way, from any place on."""

from __future__ import annotations

import hashlib
import os
import queue
import stat
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from steel_megatron.config import DataError
from steel_megatron.jobs.files import is_url, state_of
from steel_megatron.jobs.hashes import HASH_BLOCK, FileRecord
from steel_megatron.jobs.unpack import can_be_cut
from steel_megatron.tokens.tokenise.file_spans import FileSpan, file_spans
from steel_megatron.tokens.tokenise.inputs import Block, InputFile
from steel_megatron.tokens.tokenise.journal import Position
from steel_megatron.tokens.tokenise.records import TEXT, Record, RejectedLineError, record_of

PACKED_TO_PLAIN = 5  # about how much longer text is unpacked
SAMPLE_FILES = 8
SAMPLE_BYTES = 1 << 20  # of all texts of a sample together
SAMPLE_TEXT = 1 << 15  # characters of one text


class InputStream:
    """Blocks of all files in order. Plain files are cut into ranges that the workers read; others are read here.

    Args:
        start: the place to begin at.
    """

    def __init__(self, files: Sequence[str], block_bytes: int, start: Position) -> None:
        self.files = files
        self.block_bytes = block_bytes
        self.cut = [not is_url(file) and can_be_cut(file) for file in files]
        self.expected_bytes = sum(
            state_of(file).bytes * (1 if cut else PACKED_TO_PLAIN) for file, cut in zip(files, self.cut, strict=True)
        )
        self._position = start
        self._ahead: deque[tuple[int, int]] = deque()  # file and end of the blocks given out and not yet taken
        self._hasher = _Hasher()
        for i in range(start.file):
            if i not in start.records and self.cut[i]:
                self._hasher.advance(i, files[i], state_of(files[i]).bytes)

    def blocks(self) -> Iterator[Block | FileSpan]:
        """The blocks from the start on, ahead of what is taken."""
        first = self._position.file
        done = self._position.blocks
        for i in range(first, len(self.files)):
            skip = done if i == first else 0
            if self.cut[i]:
                for number, span in enumerate(file_spans(self.files[i], self.block_bytes)):
                    if number >= skip:
                        self._ahead.append((i, span.stop))
                        yield span
                continue
            file = InputFile(self.files[i], self.block_bytes)
            for number, block in enumerate(file.blocks()):
                if number >= skip:
                    self._ahead.append((i, 0))
                    yield block
            self._position.records[i] = file.record

    def taken(self, lines: int, blank_lines: int) -> int:
        """Moves the position behind the next block; returns the lines of its file before it."""
        i, stop = self._ahead.popleft()
        at = self._position
        if i != at.file:
            at.file, at.blocks, at.lines = i, 0, 0
        before = at.lines
        at.blocks += 1
        at.lines += lines
        at.blank_lines += blank_lines
        if self.cut[i]:
            self._hasher.advance(i, self.files[i], stop)
        return before

    def position(self) -> Position:
        """The place behind the last block taken."""
        for i in range(self._position.file):
            if self.cut[i] and i not in self._position.records and (record := self._hasher.done(i, self.files[i])):
                self._position.records[i] = record
        return self._position

    def finish(self) -> list[FileRecord]:
        """Size and hash of every file, when all blocks have been taken."""
        self._hasher.wait()
        records = dict(self._position.records)
        for i, file in enumerate(self.files):
            if i not in records:
                records[i] = self._hasher.record(i, file)
        return [records[i] for i in range(len(self.files))]

    def close(self) -> None:
        self._hasher.stop()


class _Hasher:
    """A thread that hashes files as far as they have been used, while their pages are in memory."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[int, str, int] | None] = queue.Queue()
        self._digests: dict[int, hashlib._Hash] = {}
        self._sizes: dict[int, int] = {}
        self._error: OSError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def advance(self, i: int, path: str, stop: int) -> None:
        self._queue.put((i, path, stop))

    def done(self, i: int, path: str) -> FileRecord | None:
        """The record of a file if it is hashed to its end."""
        if self._sizes.get(i) != state_of(path).bytes or self._queue.unfinished_tasks:
            return None
        return self.record(i, path)

    def record(self, i: int, path: str) -> FileRecord:
        digest = self._digests.get(i, hashlib.sha256())
        return FileRecord(path, self._sizes.get(i, 0), digest.hexdigest())

    def wait(self) -> None:
        self._queue.join()
        if self._error is not None:
            raise DataError(f"cannot read {self._error.filename}: {self._error.strerror}")

    def stop(self) -> None:
        self._stopped = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                if self._error is None and not self._stopped:
                    self._take(*task)
            except OSError as error:
                self._error = error
            finally:
                self._queue.task_done()

    def _take(self, i: int, path: str, stop: int) -> None:
        digest = self._digests.setdefault(i, hashlib.sha256())
        at = self._sizes.setdefault(i, 0)
        with open(path, "rb") as file:
            file.seek(at)
            while at < stop and not self._stopped and (block := file.read(min(HASH_BLOCK, stop - at))):
                digest.update(block)
                at += len(block)
        self._sizes[i] = at


class Sample(NamedTuple):
    """Texts of a run, and the control tokens that their records mark."""

    texts: list[str]
    control: set[str]


def sample_of(files: Sequence[str], keys: Sequence[str]) -> Sample:
    """Texts from the beginnings of up to ``SAMPLE_FILES`` files spread over all; none from pipes."""
    regular = [file for file in files if is_url(file) or stat.S_ISREG(os.stat(file).st_mode)]
    chosen = dict.fromkeys(regular[i * len(regular) // SAMPLE_FILES] for i in range(SAMPLE_FILES) if regular)
    sample = Sample([], set())
    for file in chosen:
        left = SAMPLE_BYTES // len(chosen)
        for record in _first_records(file, keys):
            if record.control:
                text = record.texts[list(keys).index(TEXT)]
                sample.control.update(text[start:end] for start, end in record.control)
            for text in record.texts:
                sample.texts.append(text[: min(SAMPLE_TEXT, left)])
                left -= len(sample.texts[-1].encode("utf-8"))
            if left <= 0:
                break
    return sample


def _first_records(file: str, keys: Sequence[str]) -> Iterator[Record]:
    seen = 0
    for block in InputFile(file, SAMPLE_BYTES // 4).blocks():
        for line in block.data.split(b"\n"):
            try:
                yield record_of(line, keys)
            except RejectedLineError:
                continue
        seen += len(block.data)
        if seen > 4 * SAMPLE_BYTES:
            return
