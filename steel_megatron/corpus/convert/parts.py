"""Input files cut into parts, which are converted apart, kept when a run is stopped, and joined in order.

The cut depends on the files alone, not on the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from steel_megatron.config import DataError
from steel_megatron.corpus.corpus import Corpus, Kind
from steel_megatron.corpus.readers import Row, recognise
from steel_megatron.corpus.readers.archive import tar_members, zip_files, zip_members
from steel_megatron.corpus.readers.parquet import open_parquet, read_parquet
from steel_megatron.corpus.readers.recognise import HEAD_BYTES
from steel_megatron.corpus.readers.stream import kind_as_taken, read_members, read_stream
from steel_megatron.jobs.files import is_url, open_file, spooled, state_of
from steel_megatron.jobs.inputs import JSON_LINES, Input, is_data_name
from steel_megatron.jobs.pool import ordered_map
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.suspects import suspicion
from steel_megatron.jobs.unpack import can_be_cut, line_stretches, read_chunks

PART_BYTES = 64 << 20  # larger plain JSON lines, parquet files and zip archives are cut; others are one part


@dataclass(frozen=True)
class Part:
    """A stretch of one file.

    Args:
        path: of the file, or its URL.
        name: of the file in ids.
        file_bytes, file_version: of the file when the part was planned.
        packed: it is not read in place: its content is unpacked.
        start, stop: bytes of the file (row groups of parquet, members of a zip archive).
        first: number of the first record.
        size: bytes, for progress.
    """

    path: str
    name: str
    kind: Kind
    file_bytes: int
    file_version: str
    packed: bool
    start: int
    stop: int
    first: int
    size: int

    def __str__(self) -> str:
        return f"{self.path} from record {self.first:,} on"


def rows_of(
    part: Part, corpus: Corpus, progress: Callable[[int], Any], pass_over: Callable[[str], Any]
) -> Iterator[Row]:
    """The records of a part.

    Args:
        progress: called with counts of bytes.
        pass_over: called with the names of an archive's members that hold no records of the corpus.
    """

    def wanted(member: str) -> bool:
        return is_data_name(member, corpus.suffixes, archives=True)

    def chunks(start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return read_chunks(part.path, start, stop, lambda data: progress(len(data)))

    stretch = range(part.start, part.stop)
    if part.kind is Kind.TAR:
        yield from read_members(tar_members(chunks(), part.path), part.name, corpus.kinds, wanted, pass_over)
    elif part.kind is Kind.ZIP:
        with _open_unpacked(part.path, part.packed) as file:
            members = zip_members(file, part.path, stretch)
            yield from read_members(members, part.name, corpus.kinds, wanted, pass_over)
        progress(part.size)
    elif part.kind is Kind.PARQUET and not part.packed:
        with _open_unpacked(part.path, part.packed) as file:
            source = file if is_url(part.path) else Path(part.path)
            yield from read_parquet(source, stretch, part.first, part.path)
        progress(part.size)
    else:
        whole = (part.start, part.stop) == (0, part.file_bytes)
        stretch_chunks = chunks() if whole or part.packed else chunks(part.start, part.stop)
        yield from read_stream(stretch_chunks, part.kind, part.name, part.first)


def _open_unpacked(location: str, packed: bool) -> IO[bytes]:
    """The file, or what it holds, to be read at any place."""
    try:
        return spooled(read_chunks(location)) if packed else open_file(location)
    except OSError as error:
        raise DataError(f"cannot read {location}: {error.strerror or error}") from None


def plan_parts(
    inputs: Sequence[Input], corpus: Corpus, workers: int, part_bytes: int = PART_BYTES
) -> tuple[list[Part], list[Input]]:
    """The parts of all files in order, and the files of folders passed over since they hold no records of the corpus.

    Raises:
        DataError: a file that was named holds something else, or cannot be read.
    """
    kinds: dict[Input, Kind] = {}
    for file in inputs:
        kind = _kind(file, corpus)
        if kind is not None:
            kinds[file] = kind
    stretches: list[Part] = []
    for file, kind in kinds.items():
        stretches += _stretches(file, kind, part_bytes)
    return _number_lines(stretches, workers), [file for file in inputs if file not in kinds]


def _kind(file: Input, corpus: Corpus) -> Kind | None:
    """The kind of a file, or None where it is to be passed over."""
    head = _head(file.location)

    def zip_names() -> list[str]:
        with _open_unpacked(file.location, _is_packed(file.location)) as stream:
            return [info.filename for info in zip_files(stream, file.location)]

    found = recognise(head, zip_names)
    kind = kind_as_taken(found, head, file.name, corpus.kinds)
    if kind is None and Kind.JSON_LINES in corpus.kinds and suspicion(head):
        kind = Kind.JSON_LINES if is_data_name(file.name, JSON_LINES) else None  # its lines are rejected and counted
    if kind is None and not file.searched:
        raise DataError(
            f"{file.location} looks like {'binary data' if found is None else found.value}",
            rule=f"corpus {corpus.name} is read from {', '.join(kind.value for kind in corpus.kinds)}",
            fix="check --input and --corpus",
        )
    return kind


def _head(location: str) -> bytes:
    """The beginning of the content; of a file that is damaged so early, what can be read."""
    head = b""
    try:
        for chunk in read_chunks(location):
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
    except DataError:
        if not head:
            raise
    return head[:HEAD_BYTES]


def _is_packed(location: str) -> bool:
    try:
        return not can_be_cut(location)
    except OSError as error:
        raise DataError(f"cannot read {location}: {error.strerror or error}") from None


def _stretches(file: Input, kind: Kind, part_bytes: int) -> Iterator[Part]:
    """The parts of one file; those of JSON lines are not yet numbered."""
    state = state_of(file.location)
    packed = _is_packed(file.location)
    whole = Part(file.location, file.name, kind, state.bytes, state.version, packed, 0, state.bytes, 1, state.bytes)
    if kind is Kind.PARQUET and not packed:
        with _open_unpacked(file.location, packed) as stream, open_parquet(stream, file.location) as parquet:
            groups = [parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)]
            rows, sizes = [group.num_rows for group in groups], [group.total_byte_size for group in groups]
        yield from _grouped(whole, rows, sizes, part_bytes)
    elif kind is Kind.ZIP:
        with _open_unpacked(file.location, packed) as stream:
            sizes = [info.compress_size for info in zip_files(stream, file.location)]
        yield from _grouped(whole, [0] * len(sizes), sizes, part_bytes)
    elif kind is Kind.JSON_LINES and not packed:
        for start, stop in line_stretches(file.location, state.bytes, part_bytes) or [(0, 0)]:
            yield replace(whole, start=start, stop=stop, size=stop - start)
    else:
        yield whole


def _grouped(whole: Part, rows: list[int], sizes: list[int], part_bytes: int) -> Iterator[Part]:
    """Parts of row groups or members, each of about ``part_bytes``."""
    scale = whole.file_bytes / max(sum(sizes), 1)
    start, first, size = 0, 1, 0
    for i in range(len(rows)):
        size += sizes[i]
        if size >= part_bytes or i + 1 == len(rows):
            yield replace(whole, start=start, stop=i + 1, first=first, size=int(size * scale))
            start, first, size = i + 1, first + sum(rows[start : i + 1]), 0


def _number_lines(parts: list[Part], workers: int) -> list[Part]:
    """Parts of JSON lines with the number of their first line, for which the lines before are counted."""
    follows = [i > 0 and part.start > 0 and part.kind is Kind.JSON_LINES for i, part in enumerate(parts)]
    counted = [part for part, next_follows in zip(parts, [*follows[1:], False], strict=False) if next_follows]
    with Progress("count lines", sum(part.size for part in counted)) as progress:
        lines: dict[Part, int] = {}
        for part, count in zip(
            counted, ordered_map(_count_lines, None, counted, workers if counted else 1), strict=True
        ):
            lines[part] = count
            progress.add(part.size)
    numbered: list[Part] = []
    for part, continues in zip(parts, follows, strict=True):
        if continues:
            before, unnumbered = numbered[-1], parts[len(numbered) - 1]
            part = replace(part, first=before.first + lines[unnumbered])
        numbered.append(part)
    return numbered


def _count_lines(_: None, part: Part) -> int:
    return sum(chunk.count(b"\n") for chunk in read_chunks(part.path, part.start, part.stop))
