from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.corpus_files import pieces
from steel_megatron.corpus.readers.json_lines import read_json_lines, split_lines


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.integers(1, 40))
def test_lines_do_not_depend_on_reads(lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines)
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [line for line, whole in split_lines(pieces(data, size), 1000) if whole] == expected


@given(st.integers(1, 50), st.integers(11, 200))
def test_a_line_without_end_costs_itself(size: int, length: int) -> None:
    data = b'{"a":1}\n' + b"x" * length + b'\n{"a":2}'
    rows = list(read_json_lines(pieces(data, size), max_record_bytes=10))
    assert [row.value for row in rows] == [{"a": 1}, None, {"a": 2}]
    assert rows[1].error is not None
    assert rows[1].error.reason == "too_long"
    assert rows[1].head.startswith(b"xxx")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"text": "\xff\xfe"}', "bad_utf8"),
        (b'["text"]', "not_an_object"),
        (b"7", "not_an_object"),
    ],
)
def test_a_bad_line_is_one_row_with_its_number(line: bytes, reason: str) -> None:
    rows = list(read_json_lines([b'\xef\xbb\xbf{"a":1}\r\n\n  \n' + line + b'\n{"a":2}\n']))
    assert [(row.number, row.line, row.value) for row in rows] == [(1, 1, {"a": 1}), (4, 4, None), (5, 5, {"a": 2})]
    assert rows[1].error is not None
    assert rows[1].error.reason == reason


def test_what_python_takes_is_taken() -> None:
    rows = list(read_json_lines([b'{"score": NaN, "text": "x"}\n{"other": "\\ud800", "text": "y"}\n']))
    assert [row.value["text"] for row in rows] == ["x", "y"]
