"""Lines of rejects: readable whatever the record held, and numbered in the whole file."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.jobs.rejects import (
    CONTENT_CHARACTERS,
    DETAIL_CHARACTERS,
    Reject,
    moved,
    reject_line,
    rejects_path,
    shown,
)


@given(st.binary(max_size=60), st.text(st.characters(), max_size=20), st.integers(0, 1 << 40))
def test_any_record_gives_one_line(data: bytes, detail: str, before: int) -> None:
    line = Reject.of(3, "bad_json", detail, data).json("a\udcff.jsonl")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    record = json.loads(moved(line, before))
    assert (record["line"], record["reason"]) == (3 + before, "bad_json")
    assert record["content"] == shown(data)


def test_the_beginning_is_shown() -> None:
    assert shown("汉字".encode() + b"\xff\r\n") == "汉字\\xff"
    assert shown(b" kept \n\n") == " kept "
    assert len(shown(b"x" * 100_000)) == CONTENT_CHARACTERS
    assert len(json.loads(reject_line({}, "r", "d" * 9999, ""))["detail"]) == DETAIL_CHARACTERS


def test_a_first_part_is_not_touched() -> None:
    assert moved(b'{"line":  7}\n', 0) == b'{"line":  7}\n'


def test_the_path() -> None:
    assert rejects_path(Path("/out/data")) == Path("/out/data.rejects.jsonl")
