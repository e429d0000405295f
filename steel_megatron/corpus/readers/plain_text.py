"""A file that is one document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.row import HEAD_BYTES, MAX_RECORD_BYTES, Row


def read_text(chunks: Iterable[bytes], name: str, max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[Row]:
    """One row with ``text`` and ``name``."""
    pieces: list[bytes] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        pieces.append(chunk)
        if size > max_record_bytes:
            error = RejectedRecordError("too_long", f"more than {max_record_bytes:,} bytes")
            yield Row(1, 1, error=error, head=b"".join(pieces)[:HEAD_BYTES])
            return
    data = b"".join(pieces)
    try:
        if b"\0" in data:
            raise RejectedRecordError("binary", f"first at byte {data.index(0):,}")
        yield Row(1, 1, {"text": data.decode("utf-8"), "name": name}, head=data[:HEAD_BYTES])
    except UnicodeDecodeError as error:
        reason = RejectedRecordError("bad_utf8", f"{error.reason} at byte {error.start:,}")
        yield Row(1, 1, error=reason, head=data[:HEAD_BYTES])
    except RejectedRecordError as error:
        yield Row(1, 1, error=error, head=data[:HEAD_BYTES])
