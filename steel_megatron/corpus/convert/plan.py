"""Input files of a corpus cut into parts by what they hold, and the records of a part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from steel_megatron.config import DataError
from steel_megatron.corpus.corpus import Corpus, Kind
from steel_megatron.corpus.readers import Row, recognise
from steel_megatron.corpus.readers.archive import tar_members, zip_files, zip_members
from steel_megatron.corpus.readers.parquet import open_parquet, read_parquet
from steel_megatron.corpus.readers.recognise import HEAD_BYTES, WIDE_MARKS
from steel_megatron.corpus.readers.stream import kind_as_taken, read_members, read_stream
from steel_megatron.jobs.files import is_url, open_file, spooled
from steel_megatron.jobs.inputs import JSON_LINES, Input, is_data_name
from steel_megatron.jobs.parts import PART_BYTES, InputFile, Part, line_parts, numbered, whole_file
from steel_megatron.jobs.pool import ordered_map
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.suspects import suspicion
from steel_megatron.jobs.unpack import can_be_cut, read_content

_SHARD = re.compile(r"([a-z]+)(?:_\w+)?-\d{5}-of-\d{5}")
_BY_LINES = (Kind.JSON_LINES, Kind.LINES)  # of these a stretch between two line ends is read alone


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

    content, stretch = part.content(lambda data: progress(len(data))), range(part.start, part.stop)
    if part.kind == Kind.TAR:
        yield from read_members(tar_members(content, part.path), part.file.name, corpus.kinds, wanted, pass_over)
    elif part.kind == Kind.ZIP:
        with _open_unpacked(part.path, part.packed) as file:
            members = zip_members(file, part.path, stretch)
            yield from read_members(members, part.file.name, corpus.kinds, wanted, pass_over)
        progress(part.size)
    elif part.kind == Kind.PARQUET and not part.packed:
        with _open_unpacked(part.path, part.packed) as file:
            source = file if is_url(part.path) else Path(part.path)
            yield from read_parquet(source, stretch, part.first, part.path)
        progress(part.size)
    else:
        yield from read_stream(content, Kind(part.kind), part.file.name, part.first)


def _open_unpacked(location: str, packed: bool) -> IO[bytes]:
    """The file, or what it holds, to be read at any place."""
    try:
        return spooled(read_content(location)) if packed else open_file(location)
    except OSError as error:
        raise DataError(f"cannot read {location}: {error.strerror or error}") from None


def plan_parts(
    inputs: Sequence[Input],
    files: Sequence[InputFile],
    corpus: Corpus,
    workers: int,
    part_bytes: int = PART_BYTES,
    split: str = "",
    damaged: dict[str, str] | None = None,
) -> tuple[list[Part], list[str]]:
    """The parts of all files in order, and the files of folders passed over since they hold no records of the corpus.

    Args:
        files: the inputs as they are now.
        split: files of another split of the corpus are passed over.
        damaged: gets the files that cannot be read at all, and why; None: they are an error.

    Raises:
        DataError: a file that was named holds something else, or cannot be read.
    """
    parts: list[Part] = []
    passed_over: list[str] = []
    for given, file in zip(inputs, files, strict=True):
        try:
            kind = None if _of_another_split(given, corpus, split) else _kind(given, corpus)
            if kind is None:
                passed_over.append(file.name)
            else:
                parts += _parts_of(whole_file(file, kind.value, skip_damaged=damaged is not None), part_bytes)
        except DataError as error:
            if damaged is None:
                raise
            damaged[file.name] = str(error.given)
    return numbered(_with_first_lines(parts, workers)), passed_over


def _of_another_split(file: Input, corpus: Corpus, split: str) -> bool:
    """By the folders that the file lies in, or by its name as Hugging Face writes it: test-00000-of-00002.parquet."""
    path = PurePosixPath(file.name)
    shard = _SHARD.match(path.name)
    names = {name for name in (*path.parts[:-1], shard[1] if shard else "") if name in corpus.splits}
    return bool(split and names and split not in names)


def _kind(file: Input, corpus: Corpus) -> Kind | None:
    """The kind of a file, or None where it is to be passed over."""
    head = _head(file.location)

    def zip_names() -> list[str]:
        with _open_unpacked(file.location, not can_be_cut(file.location)) as stream:
            return [info.filename for info in zip_files(stream, file.location)]

    found = recognise(head, zip_names, file.name)
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
        for data in read_content(location):
            head += data
            if len(head) >= HEAD_BYTES:
                break
    except DataError:
        if not head:
            raise
    return head[:HEAD_BYTES]


def _parts_of(whole: Part, part_bytes: int) -> Iterator[Part]:
    """The parts of one file; those of lines do not know their first lines yet."""
    if whole.kind == Kind.PARQUET and not whole.packed:
        with _open_unpacked(whole.path, packed=False) as stream, open_parquet(stream, whole.path) as parquet:
            groups = [parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)]
            rows, sizes = [group.num_rows for group in groups], [group.total_byte_size for group in groups]
        yield from _grouped(whole, rows, sizes, part_bytes)
    elif whole.kind == Kind.ZIP:
        with _open_unpacked(whole.path, whole.packed) as stream:
            sizes = [info.compress_size for info in zip_files(stream, whole.path)]
        yield from _grouped(whole, [0] * len(sizes), sizes, part_bytes)
    else:
        by_lines = whole.kind in _BY_LINES and not _head(whole.path).startswith(WIDE_MARKS)
        yield from line_parts(whole, part_bytes) if by_lines else [whole]


def _grouped(whole: Part, rows: list[int], sizes: list[int], part_bytes: int) -> Iterator[Part]:
    """Parts of row groups or members, each of about ``part_bytes``."""
    scale = whole.size / max(sum(sizes), 1)
    start, first, size = 0, 1, 0
    for i in range(len(rows)):
        size += sizes[i]
        if size >= part_bytes or i + 1 == len(rows):
            yield replace(whole, start=start, stop=i + 1, first=first, size=int(size * scale))
            start, first, size = i + 1, first + sum(rows[start : i + 1]), 0


def _with_first_lines(parts: list[Part], workers: int) -> list[Part]:
    """Parts of lines with the number of their first line, for which the lines before are counted."""
    follows = [part.start > 0 and part.kind in _BY_LINES for part in parts]
    counted = [part for part, next_follows in zip(parts, [*follows[1:], False], strict=False) if next_follows]
    found: list[Part] = []
    with Progress("count lines", sum(part.size for part in counted)) as progress:
        counts = ordered_map(_count_lines, None, counted, workers if counted else 1)
        for part, continues in zip(parts, follows, strict=True):
            if continues:
                part = replace(part, first=found[-1].first + next(counts))
                progress.add(found[-1].size)
            found.append(part)
    return found


def _count_lines(_: None, part: Part) -> int:
    return sum(data.count(b"\n") for data in replace(part, damage=[]).content())
