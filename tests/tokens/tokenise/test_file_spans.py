"""Byte ranges of a file give every line once, whatever their size."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.json_lines import write_lines
from steel_megatron.config import DataError
from steel_megatron.jobs.unpack import can_be_cut
from steel_megatron.tokens.tokenise.file_spans import FileSpan, file_spans
from steel_megatron.tokens.tokenise.inputs import InputFile


@given(st.binary(max_size=300), st.integers(1, 40))
@settings(max_examples=200)
def test_the_spans_joined_are_the_file(tmp_path_factory, data, size):
    data = data.replace(b"\xef", b"\n")  # no byte order mark
    path = tmp_path_factory.mktemp("x") / "a"
    path.write_bytes(data)
    pieces = [span.read().data for span in file_spans(path, size)]
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for i, piece in enumerate(pieces) if piece and any(pieces[i + 1 :]))


def test_long_lines_and_a_mark_at_the_beginning(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfab\n" + b"x" * 200_000 + b"\ncd\nend")
    pieces = [span.read().data for span in file_spans(path, 1000)]
    assert b"".join(pieces) == b"ab\n" + b"x" * 200_000 + b"\ncd\nend"
    assert next(len(piece) for piece in pieces if piece) == 3 + 200_001


@pytest.mark.parametrize("reader", ["spans", "blocks"])
@pytest.mark.parametrize("last", [b"\n", b"\ntail\n", b""])
def test_a_line_above_the_limit_is_cut(tmp_path, reader, last):
    path = tmp_path / "a"
    long = b"y" * 700_000
    path.write_bytes(b"one\ntwo\n" + long + last)
    if reader == "spans":
        found = [span.read() for span in file_spans(path, 1000, line_limit=50_000)]
    else:
        found = [block.read() for block in InputFile(path, 1000, line_limit=50_000).blocks()]
    assert b"".join(data for data, _ in found) == b"one\ntwo\n" + last[1:]
    assert [cut for _, cut in found if cut] == [long[:8000]]


def test_a_file_that_shrinks_is_an_error(tmp_path):
    path = write_lines(tmp_path / "a", ["x"] * 100)
    span = FileSpan(str(path), 0, path.stat().st_size)
    os.truncate(path, 10)
    with pytest.raises(DataError, match="shorter"):
        span.read()


def test_what_can_be_cut(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not can_be_cut(tmp_path / "pipe")
    assert can_be_cut(write_lines(tmp_path / "a.jsonl", ["x"]))
    assert not can_be_cut(write_lines(tmp_path / "a.jsonl.gz", ["x"]))
    assert not can_be_cut(write_lines(tmp_path / "a.jsonl.zst", ["x"]))
