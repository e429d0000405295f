"""A JSON object per line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.json_value import parse_object
from steel_megatron.corpus.readers.row import HEAD_BYTES, MAX_RECORD_BYTES, Row
from steel_megatron.jobs.files import BYTE_ORDER_MARK


def read_json_lines(
    content: Iterable[bytes], first_line: int = 1, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Row]:
    """A row per line that is not blank; ``first_line`` is the number of the first."""
    for number, (data, whole) in enumerate(split_lines(content, max_record_bytes), start=first_line):
        line = data.removeprefix(BYTE_ORDER_MARK)  # also where files were joined
        if line.isspace() or not line:
            continue
        try:
            if not whole:
                raise RejectedRecordError("too_long", f"more than {max_record_bytes:,} bytes without a line end")
            yield Row(number, number, parse_object(line), head=line[:HEAD_BYTES])
        except RejectedRecordError as error:
            yield Row(number, number, error=error, head=line[:HEAD_BYTES])


def split_lines(content: Iterable[bytes], max_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Each line without its end, and whether it is whole; of one longer than ``max_bytes`` only the head is held."""
    pending: list[bytes] = []
    size = 0
    for data in content:
        first, *others = data.split(b"\n")
        size += len(first)
        if size <= max_bytes:
            pending.append(first)
        else:
            pending = [b"".join([*pending, first])[:HEAD_BYTES]]
        for following in others:
            yield _line(pending, size, max_bytes)
            pending, size = [following], len(following)
    if size:
        yield _line(pending, size, max_bytes)


def _line(pending: list[bytes], size: int, max_bytes: int) -> tuple[bytes, bool]:
    line = b"".join(pending)
    return (line, True) if size <= max_bytes else (line[:HEAD_BYTES], False)
