"""Documents in one file of text: each line one, or each block between blank lines."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.encoding import MARKING, detect_encoding
from steel_megatron.corpus.readers.json_lines import split_lines
from steel_megatron.corpus.readers.plain_text import DETECT_BYTES
from steel_megatron.corpus.readers.row import HEAD_BYTES, MAX_RECORD_BYTES, Row
from steel_megatron.jobs.files import BYTE_ORDER_MARK, with_head

_WIDE = ("utf-16", "utf-32")  # whose line ends are no single bytes
_Line = tuple[bytes, bool]  # and whether it is whole


def read_texts(
    content: Iterable[bytes], first_line: int = 1, blocks: bool = False, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Row]:
    """A row with ``text`` per line that is not blank, or per block of such lines; rows are numbered by first lines.

    The encoding is told from the beginning; bytes that are no text in it cost their document.

    Args:
        first_line: number of the first line.
    """
    head, whole = with_head(iter(content), DETECT_BYTES)
    encoding = detect_encoding(head, whole=len(head) < DETECT_BYTES)
    if encoding is None:
        error = RejectedRecordError("bad_encoding", "it is not text in any known encoding")
        yield Row(first_line, first_line, error=error, head=head[:HEAD_BYTES])
        return
    data = whole()
    if encoding.startswith(_WIDE):
        data, encoding = _narrowed(data, encoding), "utf-8"
    lines = ((line.removeprefix(BYTE_ORDER_MARK), is_whole) for line, is_whole in split_lines(data, max_record_bytes))
    found = _blocks(lines, first_line, max_record_bytes) if blocks else _lines(lines, first_line)
    for number, line, complete in found:
        try:
            if not complete:
                raise RejectedRecordError("too_long", f"more than {max_record_bytes:,} bytes")
            yield Row(number, number, {"text": _decoded(line, encoding)}, head=line[:HEAD_BYTES])
        except RejectedRecordError as error:
            yield Row(number, number, error=error, head=line[:HEAD_BYTES])


def _lines(lines: Iterable[_Line], first_line: int) -> Iterator[tuple[int, bytes, bool]]:
    for number, (line, complete) in enumerate(lines, start=first_line):
        if line.strip():
            yield number, line.rstrip(b"\r"), complete


def _blocks(lines: Iterable[_Line], first_line: int, max_bytes: int) -> Iterator[tuple[int, bytes, bool]]:
    """The lines of each block as one, with the number of the first; of a block that is too long only its head."""
    block: list[bytes] = []
    begin, size, complete = first_line, 0, True
    for number, (line, whole) in enumerate(chain(lines, [(b"", True)]), start=first_line):
        if line.strip():
            begin = begin if block else number
            size += len(line) + 1
            complete = complete and whole and size <= max_bytes
            if complete or not block:
                block.append(line)
        elif block:
            yield begin, b"\n".join(block), complete
            block, size, complete = [], 0, True


def _narrowed(content: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """UTF-16 or UTF-32 as UTF-8; what is broken stays bytes that are none, so that it costs its document."""
    decoder = codecs.getincrementaldecoder(encoding)(MARKING)
    for data in content:
        yield decoder.decode(data).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


def _decoded(line: bytes, encoding: str) -> str:
    if b"\0" in line:
        raise RejectedRecordError("binary", f"a NUL byte first at byte {line.index(0):,} of the document")
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        detail = f"{encoding}: {error.reason} at byte {error.start:,} of the document"
        raise RejectedRecordError("bad_encoding", detail) from None
