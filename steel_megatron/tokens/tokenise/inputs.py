"""The inputs of a tokenising run cut into parts. The cut depends on the files alone."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from steel_megatron.jobs.files import is_url
from steel_megatron.jobs.hashes import FileRecord, RunningHashes
from steel_megatron.jobs.parts import PART_BYTES, FramesPart, InputFile, Part, line_parts, whole_file
from steel_megatron.jobs.tasks import Task, clear
from steel_megatron.tokens.tokenise.part import PartCounts, UnpackedPart

LEAST_PART_BYTES, PIPE_PART_BYTES = 4 << 20, 16 << 20  # nobody knows how much comes from a pipe
PARTS = 64  # wanted at least of all inputs together, where their parts do not get too small
LINES = ".lines"


class Inputs:
    """Plain files are cut by bytes, packed ones where their frames allow. Of those that have one reader all the same,
    the small are a part each; the large and pipes are unpacked by the main process, to files with the lines of a part
    each.

    Args:
        folder: of the run's work.
        part_bytes: about how much of a file, or of what it holds, is a part; None: by the size of all.
        skip_damaged: what can be read of a damaged file is taken.
    """

    def __init__(
        self, files: Sequence[InputFile], folder: Path, part_bytes: int | None = None, skip_damaged: bool = False
    ) -> None:
        self.skip_damaged = skip_damaged
        self.damaged: dict[str, list[str]] = {}  # of files that are unpacked here
        self.files = files
        self.folder = folder
        self.bytes = sum(file.bytes for file in files)
        least = PIPE_PART_BYTES if any(map(_is_pipe, files)) else LEAST_PART_BYTES
        self.part_bytes = part_bytes or min(PART_BYTES, max(least, self.bytes // PARTS))
        self.hashes = RunningHashes()
        self._records: dict[str, FileRecord] = {}

    def parts(self, is_done: Callable[[int], bool]) -> Iterator[Part]:
        """All parts in order.

        Args:
            is_done: whether the part of a number is done already, and needs no lines.

        Raises:
            DataError: a file cannot be read, or its packing is damaged or cut.
        """
        number = 0
        for file in self.files:
            whole = whole_file(file, skip_damaged=self.skip_damaged)
            if is_url(file.path):
                whole = replace(whole, packed=True)  # read once, and hashed on the way
            cut = [whole] if is_url(file.path) or _is_pipe(file) else line_parts(whole, self.part_bytes)
            if cut == [whole] and whole.packed and (file.bytes > self.part_bytes or _is_pipe(file)):
                parts: Iterator[Part] = self._unpacked(number, whole, is_done)
            else:
                parts = iter(cut)
            for part in parts:
                yield replace(part, number=number)
                number += 1

    def take(self, part: Part, counts: PartCounts) -> None:
        """Hashes the input of the next part, which has been read."""
        if counts.record is not None:
            self._records[part.path] = counts.record
        elif not part.packed or isinstance(part, FramesPart):
            self.hashes.feed(part.file, part.path, part.start, part.stop)

    def records(self) -> tuple[FileRecord, ...]:
        """Size and hash of every file, when all parts have been taken."""
        return tuple(self._records.get(file.path) or self.hashes.record(file, file.path) for file in self.files)

    def close(self) -> None:
        """Leaves what a later run can go on with, and nothing else."""
        self.hashes.close()
        for path in self.folder.glob("*" + LINES):
            path.unlink()
        if not any(self.folder.glob("[0-9]*.done")):
            clear(self.folder)

    def _unpacked(self, first: int, whole: Part, is_done: Callable[[int], bool]) -> Iterator[Part]:
        """The parts of a file that is unpacked here, each written as lines where it is not done."""
        task = Task(self.folder / f"unpacked.{first:06d}", ())
        before = task.marked()
        sizes: list[int] = before["sizes"] if before else []
        if before and all(map(is_done, range(first, first + len(sizes)))):
            self._records[whole.path] = FileRecord(**before["record"])
            self.damaged[whole.file.name] = before.get("damage", [])
            yield from (UnpackedPart(0, whole.file, True, 0, 0, size) for size in sizes)
            return
        digest, read, sizes = hashlib.sha256(), 0, []

        def on_read(data: bytes) -> None:
            nonlocal read
            digest.update(data)
            read += len(data)

        pieces = whole.content(on_read)
        rest = next(pieces, b"")
        while rest:
            number = first + len(sizes)
            lines = self.folder / f"{number:06d}{LINES}"
            rest = self._write_lines(Path(os.devnull) if is_done(number) else lines, rest, pieces)
            sizes.append(read - sum(sizes))
            yield UnpackedPart(0, whole.file, True, 0, 0, sizes[-1], lines=os.fspath(lines))
            rest = rest or next(pieces, b"")
        self._records[whole.path] = FileRecord(whole.path, read, digest.hexdigest())
        with task.attempt() as (_, mark):
            mark.update(sizes=sizes, record=asdict(self._records[whole.path]), damage=whole.damage)
        self.damaged[whole.file.name] = whole.damage

    def _write_lines(self, path: Path, piece: bytes, pieces: Iterator[bytes]) -> bytes:
        """Writes lines up to the one that ends a part; returns what was read beyond."""
        size = 0
        with open(path, "wb") as file:
            while piece:
                end = piece.find(b"\n", max(self.part_bytes - size, 1) - 1) + 1
                size += file.write(piece[:end] if end else piece)
                if end:
                    return piece[end:]
                piece = next(pieces, b"")
        return b""


def _is_pipe(file: InputFile) -> bool:
    return not is_url(file.path) and not stat.S_ISREG(os.stat(file.path).st_mode)
