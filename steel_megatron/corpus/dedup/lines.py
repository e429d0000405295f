"""The lines of a part, as they came, and the text in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from steel_megatron.jobs.files import BYTE_ORDER_MARK
from steel_megatron.jobs.parts import Part


def read_lines(part: Part) -> Iterator[bytes]:
    """The lines of the part without their line feeds, blank ones among them."""
    pieces: list[bytes] = []
    for data in part.readable(part.content()):
        *ended, rest = data.split(b"\n")
        for piece in ended:
            yield b"".join([*pieces, piece]).removeprefix(BYTE_ORDER_MARK)
            pieces.clear()
        if rest:
            pieces.append(rest)
    if pieces:
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
