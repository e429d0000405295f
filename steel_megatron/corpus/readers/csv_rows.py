"""The rows of a table in text: cells separated by commas, tabs, semicolons or bars, a header first."""

from __future__ import annotations

import codecs
import csv
from collections import deque
from collections.abc import Iterator, Sequence

from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.encoding import BROKEN, MARKING, detect_encoding
from steel_megatron.corpus.readers.recognise import decoded_head, delimiter_of
from steel_megatron.corpus.readers.row import HEAD_BYTES, Row
from steel_megatron.jobs.files import with_head

DETECT_BYTES = 1 << 20
MOST_LINES = 500  # of one row: beyond, a quotation mark is missing
MOST_CHARACTERS = 4 << 20


def read_csv(content: Iterator[bytes]) -> Iterator[Row]:
    """A row per line (or lines, where a quoted cell holds line ends) as header → cell; blank ones are left out.

    Where a quotation mark is not closed, the line it stands in is the bad record, and reading goes on behind it.
    """
    head, whole = with_head(content, DETECT_BYTES)
    encoding = detect_encoding(head, whole=False)
    if encoding is None:
        yield Row(1, 1, error=RejectedRecordError("bad_encoding", "it is not text in any known encoding"), head=head)
        return
    delimiter = delimiter_of(decoded_head(head)) or ","
    columns: list[str] | None = None
    number = 0
    for line, text, cells in _rows(_lines(whole(), encoding), delimiter):
        error = cells if isinstance(cells, RejectedRecordError) else None
        if error is None and columns is None and BROKEN not in text:
            columns = unique_names(cells if isinstance(cells, list) else [])
            continue
        number += 1
        if BROKEN in text:
            error = RejectedRecordError("bad_encoding", f"bytes that are not {encoding}")
        if isinstance(cells, list) and columns is not None and error is None:
            try:
                yield Row(number, line, table_row(columns, cells), head=_head(text))
                continue
            except RejectedRecordError as too_wide:
                error = too_wide
        yield Row(number, line, error=error, head=_head(text))


def unique_names(cells: Sequence[str]) -> list[str]:
    """Column names of a header: a name that is there already gets a number, an empty one its place."""
    names: list[str] = []
    for place, cell in enumerate(cells, start=1):
        name = base = cell.strip().removeprefix("\ufeff") or f"column {place}"
        again = 2
        while name in names:
            name, again = f"{base} ({again})", again + 1
        names.append(name)
    return names


def table_row(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """Column → cell; cells that are not there are empty.

    Raises:
        RejectedRecordError: cells beyond the last column.
    """
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise RejectedRecordError("bad_row", f"{len(cells)} cells, and the header has {len(columns)}")
    return dict(zip(columns, [*cells, *[""] * (len(columns) - len(cells))], strict=False))


def _head(text: str) -> bytes:
    return text[:HEAD_BYTES].encode("utf-8", "surrogateescape")


def _lines(content: Iterator[bytes], encoding: str) -> Iterator[str]:
    """The lines with their ends; a line without an end is cut at ``MOST_CHARACTERS``."""
    decoder = codecs.getincrementaldecoder(encoding)(MARKING)
    pending = ""
    for data in content:
        pending += decoder.decode(data)
        *whole, pending = pending.split("\n")
        for line in whole:
            yield line + "\n"
        if len(pending) > MOST_CHARACTERS:
            yield pending
            pending = ""
    if pending := pending + decoder.decode(b"", final=True):
        yield pending


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, str, list[str] | RejectedRecordError]]:
    """Number of the first line, text, and cells of each row that is not blank."""
    waiting: deque[str] = deque()
    number = 0
    while True:
        text, count, cells = _next_row(lines, waiting, delimiter)
        if not count:
            return
        if isinstance(cells, RejectedRecordError) or any(cell.strip() for cell in cells):
            yield number + 1, text, cells
        number += count


def _next_row(
    lines: Iterator[str], waiting: deque[str], delimiter: str
) -> tuple[str, int, list[str] | RejectedRecordError]:
    """Text, number of lines and cells of the next row; no line at the end. Lines read too far go to ``waiting``."""
    taken: list[str] = []
    size = 0
    error = RejectedRecordError("bad_row", "a quotation mark that is not closed")
    while len(taken) < MOST_LINES and size < MOST_CHARACTERS:
        line = waiting.popleft() if waiting else next(lines, "")
        if not line:
            break
        taken.append(line)
        size += len(line)
        if len(taken) > 1 and '"' not in line:
            continue  # still within the quoted cell
        try:
            parsed = list(csv.reader(taken, delimiter=delimiter, strict=True))
            return "".join(taken), len(taken), parsed[0] if parsed else []
        except csv.Error as broken:
            if "unexpected end of data" not in str(broken):
                error = RejectedRecordError("bad_row", str(broken))
                break
    waiting.extendleft(reversed(taken[1:]))
    return (taken[0], 1, error) if taken else ("", 0, [])
