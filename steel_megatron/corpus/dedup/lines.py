"""The lines of a part, as they came, and the text in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from steel_megatron.corpus.dedup.plan import DedupPart
from steel_megatron.jobs.files import BYTE_ORDER_MARK
from steel_megatron.jobs.unpack import read_chunks


def read_lines(part: DedupPart) -> Iterator[bytes]:
    """The lines that begin in the part, without their line feeds, blank ones among them; the last may go beyond it."""
    if part.start == 0:
        position, skipping = 0, False
    else:
        # From one byte before: where that is a line feed, a line begins at start.
        position, skipping = part.start - 1, True
    pieces: list[bytes] = []
    begun = position
    for chunk in read_chunks(part.path, position):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            pieces.append(piece)
            line = b"".join(pieces)
            pieces.clear()
            if skipping:
                skipping = False
            else:
                yield line.removeprefix(BYTE_ORDER_MARK)
            begun += len(line) + 1
            if part.stop is not None and begun >= part.stop:
                return
        if rest:
            pieces.append(rest)
    if pieces and not skipping:
        yield b"".join(pieces).removeprefix(BYTE_ORDER_MARK)


def parse_record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it is no object with a string ``text``."""
    record: Any = None
    try:
        record = orjson.loads(line)
    except ValueError:
        try:  # what orjson refuses and JSON's own reader takes: half surrogates, NaN
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
    return record if isinstance(record, dict) and isinstance(record.get("text"), str) else None
