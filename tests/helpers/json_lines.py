"""Files of JSON lines with everything that goes wrong in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import zstandard

# Line → the reason why it is no record, None for a good one.
LINES: dict[bytes, str | None] = {
    b'{"text": "good"}': None,
    '{"text": "好的", "other": 1}'.encode(): None,
    b'{"text": ""}': None,
    b'{"text": "nan elsewhere", "x": NaN}': None,
    b'{"text": "half a pair elsewhere", "x": "\\ud800"}': None,
    b'{"text": "a pair \\ud83d\\ude00"}': None,
    b'{"text": "bad \xff byte"}': "bad_utf8",
    b'{"text": "surrogate in bytes \xed\xa0\x80"}': "bad_utf8",
    b'{"text": "cut': "bad_json",
    b"not json": "bad_json",
    b'{"text": "x"} {"text": "y"}': "bad_json",
    b"[" * 100_000: "bad_json",
    b'["text"]': "not_an_object",
    b'"text"': "not_an_object",
    b"null": "not_an_object",
    b'{"texts": "x"}': "missing_key",
    b"{}": "missing_key",
    b'{"text": null}': "null",
    b'{"text": 5}': "not_a_string",
    b'{"text": ["a", "b"]}': "not_a_string",
    b'{"text": "half a pair \\ud800 x"}': "lone_surrogate",
    b'{"text": "short", "control": [[0, 6]]}': "bad_control",
    b'{"text": "short", "control": [[3, 4], [2, 3]]}': "bad_control",
    b'{"text": "short", "control": ["x"]}': "bad_control",
    b'{"text": "another meaning", "control": "x"}': None,
    b'{"te\\u0078t": "escaped key", "other": [{"text": 1}, 1e5, -0.5]}': None,
    b'{"text": "first", "text": "last"}': None,
}


def write_lines(path: Path, lines: Iterable[bytes | str], ending: bytes = b"\n") -> Path:
    """Writes bytes as they are and texts as ``{"text": …}``; packs by the name's ending."""
    data = b"".join(
        (line if isinstance(line, bytes) else json.dumps({"text": line}, ensure_ascii=False).encode()) + ending
        for line in lines
    )
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path
