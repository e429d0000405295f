"""Every way in which a line is no record, and the lines that are one against all odds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.json_lines import LINES
from steel_megatron.tokens.tokenise.records import (
    NOT_ENCODABLE,
    REASONS,
    TOO_LONG,
    UNKNOWN_CONTROL,
    RejectedLineError,
    texts_of,
)


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:40]))
def test_lines(line):
    expected = LINES[line]
    if expected is None:
        assert texts_of(line, ["text"]) == [json.loads(line)["text"]]
        return
    with pytest.raises(RejectedLineError) as caught:
        texts_of(line, ["text"])
    assert caught.value.reason == expected
    assert caught.value.detail


def test_every_reason_is_tried_and_described():
    assert {reason for reason in LINES.values() if reason} | {NOT_ENCODABLE, TOO_LONG, UNKNOWN_CONTROL} == set(REASONS)


def test_several_keys():
    assert texts_of(b'{"a": "x", "b": "y"}', ["b", "a"]) == ["y", "x"]
    with pytest.raises(RejectedLineError, match="missing_key: no 'c' among 'a', 'b'"):
        texts_of(b'{"a": "x", "b": "y"}', ["a", "c"])


@given(st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=5) | st.integers() | st.floats(), max_size=4))
def test_what_pythons_parser_takes_is_taken(record):
    record["text"] = "x"
    assert texts_of(json.dumps(record).encode(), ["text"]) == ["x"]


@given(st.binary(max_size=50))
def test_any_bytes_give_texts_or_a_reason(line):
    try:
        outcome = [type(text).__name__ for text in texts_of(line, ["text"])]
    except RejectedLineError as error:
        outcome = [error.reason]
    assert outcome == ["str"] or outcome[0] in REASONS


def test_a_mark_where_files_were_joined_costs_nothing():
    assert texts_of(b'\xef\xbb\xbf{"text": "a"}', ["text"]) == ["a"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (b'{"text": "a"}\r{"text": "b"}\r', "old Macs"),
        (b'{"text": "a"} {"text": "b"}', "several objects in a line"),
        ('{"text": "a"}'.encode("utf-16-le"), "UTF-16"),
        (b'{"data": [{"text": "a"}, {"text": "b"}]}', "'data' is a list of objects"),
    ],
)
def test_known_causes_are_named(line, hint):
    with pytest.raises(RejectedLineError, match=hint):
        texts_of(line, ["text"])
