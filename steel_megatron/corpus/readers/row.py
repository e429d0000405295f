"""One record as a reader found it."""

from __future__ import annotations

from typing import Any, NamedTuple

from steel_megatron.corpus.corpus import RejectedRecordError

MAX_RECORD_BYTES = 256 << 20  # a longer record is rejected: somewhere a line end or a quotation mark is missing
HEAD_BYTES = 8000  # of a rejected record, kept to be read by people


class Row(NamedTuple):
    """A record, or why there is none.

    Args:
        number: of the record in its file, from 1; of JSON lines the line, blank ones counted too.
        line: where the record begins in the unpacked file, from 1; None where the file has no lines.
        value: the record; None with ``error``.
        head: the beginning of the record's bytes, with ``error`` or where bytes are at hand.
        member: the file in an archive that it comes from.
    """

    number: int
    line: int | None
    value: Any = None
    error: RejectedRecordError | None = None
    head: bytes = b""
    member: str = ""
