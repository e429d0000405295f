"""Input files cut into parts, which are worked on apart and joined in order. The cut depends on the files alone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import IO, Any, TypeVar

from steel_megatron.config.errors import DataError
from steel_megatron.jobs.files import is_url, open_file, state_of
from steel_megatron.jobs.frames import frame_starts
from steel_megatron.jobs.hashes import RunningHashes, hash_file
from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.unpack import can_be_cut, read_content

PART_BYTES = 64 << 20
PACKING_RATIO = 4  # about how many bytes of lines are in a byte of a packed file
SAME_SINCE = "0.1.0"  # the first version whose finished parts hold what today's would: they are gone on with
SMALL_BYTES = 1 << 20  # of a file that is hashed at once, not by a thread
DAMAGE = "damage"  # in the counts of a part: what was skipped
Some = TypeVar("Some")


@dataclass(frozen=True)
class InputFile:
    """A file as it was when the run began.

    Args:
        path: on this machine, or its URL.
        name: in ids: the path below the folder that was given.
        version: changes when the file does.
        source: the name that its documents were given with, where there are several.
        sha256: of all bytes, once they were read; empty for a URL or a pipe.
    """

    path: str
    name: str
    bytes: int
    version: str
    source: str = ""
    sha256: str = ""

    @classmethod
    def of(cls, found: Input, source: str = "") -> InputFile:
        return cls(found.location, found.name, *state_of(found.location), source)


@dataclass(frozen=True)
class Part:
    """A stretch of one file: the work of one task.

    Args:
        number: its place among the parts of the run.
        packed: the file is not read in place: it is packed, or a pipe. All of it, but for a :class:`FramesPart`.
        start, stop: bytes of the file (row groups of parquet, members of a zip archive).
        size: bytes, for progress.
        kind: what a reader takes the file for, where there are several kinds.
        first: number of the first record, where parts know it.
        skip_damaged: what can be read of a damaged file is; the damage is noted in ``damage``.
        damage: what was found while the part was read, in words.
    """

    number: int
    file: InputFile
    packed: bool
    start: int
    stop: int
    size: int
    kind: str = ""
    first: int = 1
    skip_damaged: bool = False
    damage: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def path(self) -> str:
        return self.file.path

    def content(self, on_read: Callable[[bytes], Any] | None = None) -> Iterator[bytes]:
        """The unpacked bytes of a part that is a stretch of bytes; ``on_read`` is given those read from the file."""
        return self._read(self.start, None if self.packed else self.stop, on_read)

    def readable(self, items: Iterator[Some]) -> Iterator[Some]:
        """What is made of the content, up to damage that is to be skipped."""
        try:
            yield from items
        except DataError as error:
            if not self.skip_damaged:
                raise
            self.damage.append(str(error.given))

    def done_as_wanted(self, mark: dict[str, Any] | None) -> dict[str, Any] | None:
        """The counts of the finished part; None where damage was skipped that is not to be."""
        return None if mark and mark.get(DAMAGE) and not self.skip_damaged else mark

    def _is_file(self) -> bool:
        return not is_url(self.path) and _is_readable(self.path)

    def _read(
        self, start: int, stop: int | None, on_read: Callable[[bytes], Any] | None = None, frames: bool = False
    ) -> Iterator[bytes]:
        if not self.skip_damaged:
            yield from read_content(self.path, start, stop, on_read, frames)
            return
        end = self.file.bytes if stop is None else stop
        # A damaged frame costs itself: the next one is whole again.
        cuts = [at for at in frame_starts(self.path) if start < at < end] if self.packed and self._is_file() else []
        for at, next_at in zip([start, *cuts], [*cuts, stop], strict=True):
            seen = len(self.damage)
            yield from self.readable(read_content(self.path, at, next_at, on_read, frames or at > start))
            if len(self.damage) > seen and next_at != stop:
                yield b"\n"  # so that the line that was cut is a reject, and not the one after it

    def __str__(self) -> str:
        return f"{self.path} from {f'record {self.first:,}' if self.first > 1 else f'byte {self.start:,}'} on"


@dataclass(frozen=True)
class FramesPart(Part):
    """Frames of a packed file: the lines behind the first line end in them, the last one to its end in a later frame.

    So each line is in one part wherever frames end. The first part of a file has its first line too.
    """

    def content(self, on_read: Callable[[bytes], Any] | None = None) -> Iterator[bytes]:
        begun = self.start == 0
        for data in self._read(self.start, self.stop, on_read, frames=True):
            if not begun:
                _, end, data = data.partition(b"\n")
                begun = bool(end)
            if begun and data:
                yield data
        end = b"" if begun and self.stop < self.file.bytes else b"\n"
        rest = self._read(self.stop, None, frames=True)
        while not end and (data := next(rest, b"")):
            line, end, _ = data.partition(b"\n")
            yield line + end


def whole_file(file: InputFile, kind: str = "", skip_damaged: bool = False) -> Part:
    """The part that is all of a file, not yet numbered.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        packed = not can_be_cut(file.path)
    except OSError as error:
        if not skip_damaged:
            raise DataError(f"cannot read {file.path}: {error.strerror or error}") from None
        packed = True  # nothing is known of it; its part says so
    return Part(0, file, packed, 0, file.bytes, file.bytes, kind, skip_damaged=skip_damaged)


def damaged_files(parts: Iterable[Part], damage: Iterable[Sequence[str]]) -> dict[str, str]:
    """The files of which not all could be read, and what was found, from the damage that each part noted."""
    found: dict[str, str] = {}
    for part, noted in zip(parts, damage, strict=True):
        if noted:
            name = f"{part.file.source}/{part.file.name}" if part.file.source else part.file.name
            found.setdefault(name, "; ".join(noted))
    return found


def line_parts(whole: Part, part_bytes: int, earlier: Sequence[int] = ()) -> list[Part]:
    """A file of lines as parts of about ``part_bytes``, cut behind line ends; a packed one where its frames allow.

    Args:
        part_bytes: of lines; of a packed file, those that are about in its parts.
        earlier: where an earlier run cut the file: each line belonged to the part in which it begins.
    """
    if whole.packed:
        part_bytes = max(part_bytes // PACKING_RATIO, 1)
    if not whole.size or (not earlier and whole.size < 2 * part_bytes):
        return [whole]
    if whole.packed:
        return _frame_parts(whole, part_bytes, earlier)
    cuts = [0]
    with open_file(whole.path) as file:
        if earlier:
            cuts += [_line_from(file, place) for place in earlier[1:]]
        while not earlier and cuts[-1] + 2 * part_bytes <= whole.size:
            cuts.append(_line_from(file, cuts[-1] + part_bytes + 1))
    pairs = zip(cuts, [*cuts[1:], whole.size], strict=True)
    return [replace(whole, start=at, stop=stop, size=stop - at) for at, stop in pairs if at < stop or earlier]


def _frame_parts(whole: Part, part_bytes: int, earlier: Sequence[int]) -> list[Part]:
    """Frames of a packed file together until they are ``part_bytes``; a file of one frame is one part."""
    cuts = list(earlier) or [0]
    for start in [] if earlier else frame_starts(whole.path):
        if start - cuts[-1] >= part_bytes and whole.size - start >= part_bytes:
            cuts.append(start)
    if len(cuts) == 1:
        return [whole]
    given = {each.name: getattr(whole, each.name) for each in fields(whole)}
    pairs = zip(cuts, [*cuts[1:], whole.size], strict=True)
    return [FramesPart(**given | {"start": at, "stop": stop, "size": stop - at, "damage": []}) for at, stop in pairs]


def _line_from(file: IO[bytes], place: int) -> int:
    """The first byte from a place on with which a line begins."""
    file.seek(place - 1)
    while (piece := file.readline(1 << 20)) and not piece.endswith(b"\n"):
        pass
    return file.tell()


class InputHashes:
    """Hashes the input files of this machine part by part as the parts are done, while their pages are in memory."""

    def __init__(self) -> None:
        self._running = RunningHashes()
        self._found: dict[InputFile, str] = {}  # empty while the rest of the file is to come

    def __enter__(self) -> InputHashes:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def take(self, part: Part) -> None:
        """Hashes the input of the next part; of a file that is cut otherwise than by bytes, all with the first."""
        by_bytes = part.size == part.stop - part.start
        if (part.file in self._found and not by_bytes) or is_url(part.path) or not _is_readable(part.path):
            return
        start, stop = (part.start, part.stop) if by_bytes else (0, part.file.bytes)
        if (start, stop) == (0, part.file.bytes) and stop <= SMALL_BYTES:
            self._found[part.file] = hash_file(part.path).sha256
        else:
            self._running.feed(part.file, part.path, start, stop)
            self._found[part.file] = ""

    def of(self, files: Iterable[InputFile]) -> tuple[InputFile, ...]:
        """The files with their hashes, when all parts have been taken."""
        return tuple(
            replace(file, sha256=self._found[file] or self._running.record(file, file.path).sha256)
            if file in self._found
            else file
            for file in files
        )


def _is_readable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


def numbered(parts: Iterable[Part]) -> list[Part]:
    return [replace(part, number=number, damage=[]) for number, part in enumerate(parts)]


def key_of(made_of: Sequence[Any]) -> str:
    """A name for what is made of a part, which changes with all that its content depends on."""
    text = json.dumps(made_of, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
