"""A file that is one document, whatever its encoding."""

from __future__ import annotations

import pytest

from steel_megatron.corpus.readers.plain_text import read_text


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"a\0b", "binary"), ("汉字".encode() * 5 + b"\xff", "bad_encoding"), (b"x" * 2000, "too_long")],
)
def test_a_file_that_is_no_text(data: bytes, reason: str) -> None:
    [row] = read_text([data[:1], data[1:]], "name.txt", max_record_bytes=1000)
    assert row.error is not None
    assert row.error.reason == reason
    assert row.head


def test_a_character_across_two_reads() -> None:
    data = "汉字".encode()
    [row] = read_text([data[:4], data[4:]], "name.txt")
    assert row.value == {"text": "汉字", "name": "name.txt"}
