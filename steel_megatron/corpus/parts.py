"""Input files cut into parts, which are converted apart, kept when a run is stopped, and joined in order.

The cut depends on the files alone, not on the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.corpus.corpus import Corpus, Kind
from steel_megatron.corpus.inputs import Input
from steel_megatron.corpus.ordered_pool import ordered_map
from steel_megatron.corpus.progress import Progress
from steel_megatron.corpus.readers import Row, recognise
from steel_megatron.corpus.readers.json_array import read_json_array
from steel_megatron.corpus.readers.json_lines import read_json_lines
from steel_megatron.corpus.readers.parquet import open_parquet, read_parquet
from steel_megatron.corpus.readers.plain_text import read_text
from steel_megatron.corpus.readers.recognise import HEAD_BYTES
from steel_megatron.corpus.unpack import packing_of, read_chunks

PART_BYTES = 64 << 20  # larger plain JSON lines and parquet files are cut; others are one part


@dataclass(frozen=True)
class Part:
    """A stretch of one file.

    Args:
        name: of the file in ids.
        file_bytes, file_mtime_ns: of the file when the part was planned.
        start, stop: bytes of the file (row groups of parquet).
        first: number of the first record.
        size: bytes, for progress.
    """

    path: str
    name: str
    kind: Kind
    file_bytes: int
    file_mtime_ns: int
    start: int
    stop: int
    first: int
    size: int

    def __str__(self) -> str:
        return f"{self.path} from record {self.first:,} on"


def rows_of(part: Part, progress: Callable[[int], Any]) -> Iterator[Row]:
    """The records of a part; ``progress`` is called with counts of bytes."""
    path = Path(part.path)

    def on_read(data: bytes) -> None:
        progress(len(data))

    if part.kind is Kind.PARQUET:
        yield from read_parquet(path, range(part.start, part.stop), part.first)
        progress(part.size)
    elif part.kind is Kind.JSON_LINES:
        whole = (part.start, part.stop) == (0, part.file_bytes)
        chunks = read_chunks(path, part.start, None if whole else part.stop, on_read)
        yield from read_json_lines(chunks, part.first)
    elif part.kind is Kind.JSON_ARRAY:
        yield from read_json_array(read_chunks(path, on_read=on_read))
    else:
        yield from read_text(read_chunks(path, on_read=on_read), part.name)


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
    if corpus.kinds == (Kind.TEXT,):
        return Kind.TEXT
    head = next(read_chunks(file.path), b"")[:HEAD_BYTES]
    if not head.strip():
        return corpus.kinds[0]  # nothing in it, whatever it is
    kind = recognise(head)
    if kind in corpus.kinds:
        return kind
    if file.searched:
        return None
    raise DataError(
        f"{file.path} looks like {'binary data' if kind is None else kind.value}",
        rule=f"corpus {corpus.name} is read from {', '.join(kind.value for kind in corpus.kinds)}",
        fix="check --input and --corpus",
    )


def _stretches(file: Input, kind: Kind, part_bytes: int) -> Iterator[Part]:
    """The parts of one file; those of JSON lines are not yet numbered."""
    status = file.path.stat()

    def part(start: int, stop: int, first: int, size: int) -> Part:
        return Part(str(file.path), file.name, kind, status.st_size, status.st_mtime_ns, start, stop, first, size)

    if kind is Kind.PARQUET:
        with open_parquet(file.path) as parquet:
            groups = [parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)]
            rows, sizes = [group.num_rows for group in groups], [group.total_byte_size for group in groups]
        scale = status.st_size / max(sum(sizes), 1)
        start, first = 0, 1
        for i in range(len(rows)):
            size = sum(sizes[start : i + 1])
            if size >= part_bytes or i + 1 == len(rows):
                yield part(start, i + 1, first, int(size * scale))
                start, first = i + 1, first + sum(rows[start : i + 1])
        return
    with open(file.path, "rb") as stream:
        cuts = [0]
        if kind is Kind.JSON_LINES and packing_of(stream.read(4)) is None:
            while cuts[-1] + 2 * part_bytes <= status.st_size:
                stream.seek(cuts[-1] + part_bytes)
                _to_next_line(stream)
                cuts.append(stream.tell())
    for start, stop in zip(cuts, [*cuts[1:], status.st_size], strict=True):
        if start < stop or status.st_size == 0:
            yield part(start, stop, 1, stop - start)


def _to_next_line(stream: Any) -> None:
    while (piece := stream.readline(1 << 20)) and not piece.endswith(b"\n"):
        pass


def _number_lines(parts: list[Part], workers: int) -> list[Part]:
    """Parts of JSON lines with the number of their first line, for which the lines before are counted."""
    follows = [i > 0 and part.start > 0 and part.kind is Kind.JSON_LINES for i, part in enumerate(parts)]
    counted = [part for part, next_follows in zip(parts, [*follows[1:], False], strict=True) if next_follows]
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
    return sum(chunk.count(b"\n") for chunk in read_chunks(Path(part.path), part.start, part.stop))
