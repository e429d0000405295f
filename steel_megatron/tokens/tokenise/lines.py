"""Lines read together: a stream of bytes as batches of whole lines, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from steel_megatron.jobs.files import BYTE_ORDER_MARK

BATCH_BYTES = 2 << 20
LINE_LIMIT = 256 << 20  # bytes of a line; a longer one is not held in memory
CUT_BYTES = 8000  # kept of a line that is too long


class LineBatch(NamedTuple):
    """Whole lines, and the beginning of one more that is too long to be taken (empty when there is none)."""

    data: bytes  # ends with a line end, except perhaps at the end of the file
    cut_line: bytes = b""


def line_batches(
    content: Iterable[bytes], batch_bytes: int = BATCH_BYTES, line_limit: int = LINE_LIMIT
) -> Iterator[LineBatch]:
    """Batches of about ``batch_bytes``; a longer line makes a longer batch, one above ``line_limit`` is cut.

    A byte order mark at the beginning is no part of the first line.
    """
    pending: list[bytes] = []
    pending_bytes, first = 0, True
    cut_line = b""
    for piece in content:
        if first:
            piece, first = piece.removeprefix(BYTE_ORDER_MARK), False
        if cut_line:  # until that line ends
            begin = piece.find(b"\n") + 1
            if begin == 0:
                continue
            yield LineBatch(b"".join(pending), cut_line)
            piece, cut_line, pending, pending_bytes = piece[begin:], b"", [], 0
        end = piece.rfind(b"\n") + 1 if pending_bytes + len(piece) >= batch_bytes else 0
        if end == 0:
            pending.append(piece)
            pending_bytes += len(piece)
            if pending_bytes > batch_bytes + line_limit:
                lines, line_end, start = b"".join(pending).rpartition(b"\n")
                if len(start) > line_limit:
                    pending, cut_line = [lines + line_end], start[:CUT_BYTES]
            continue
        yield LineBatch(b"".join([*pending, piece[:end]]))
        pending, pending_bytes = [piece[end:]], len(piece) - end
    data = b"".join(pending)
    if data or cut_line:
        yield LineBatch(data, cut_line)
