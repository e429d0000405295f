"""A file that is one document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from steel_megatron.corpus.corpus import Document, RejectedRecordError
from steel_megatron.corpus.readers.encoding import detect_encoding
from steel_megatron.corpus.readers.row import HEAD_BYTES, MAX_RECORD_BYTES, Row

DETECT_BYTES = 1 << 20  # of which the encoding is told


def read_text(content: Iterable[bytes], name: str, max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[Row]:
    """One row with ``text`` and ``name``; the encoding is told from the bytes."""
    pieces: list[bytes] = []
    size = 0
    for data in content:
        size += len(data)
        pieces.append(data)
        if size > max_record_bytes:
            error = RejectedRecordError("too_long", f"more than {max_record_bytes:,} bytes")
            yield Row(1, 1, error=error, head=b"".join(pieces)[:HEAD_BYTES])
            return
    data = b"".join(pieces)
    try:
        yield Row(1, 1, Document(text=decode(data), name=name), head=data[:HEAD_BYTES])
    except RejectedRecordError as error:
        yield Row(1, 1, error=error, head=data[:HEAD_BYTES])


def decode(data: bytes) -> str:
    """The text that the bytes are.

    Raises:
        RejectedRecordError: ``binary`` or ``bad_encoding``.
    """
    head = data[:DETECT_BYTES]
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RejectedRecordError("binary", f"a NUL byte first at byte {data.index(0):,}")
    encoding = detect_encoding(head, whole=len(head) == len(data))
    if encoding is None:
        raise RejectedRecordError("bad_encoding", "it is not text in any known encoding")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise RejectedRecordError("bad_encoding", f"{encoding}: {error.reason} at byte {error.start:,}") from None
