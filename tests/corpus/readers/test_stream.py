"""Records of a stream by its kind, and of the members of an archive by theirs."""

from __future__ import annotations

import json

import pytest

from steel_megatron.corpus.corpus import RECORDS, Kind
from steel_megatron.corpus.readers.archive import Member
from steel_megatron.corpus.readers.stream import kind_as_taken, read_members, read_stream

ROWS = [{"text": "一"}, {"text": "two"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Kind.JSON_LINES, LINES),
        (Kind.JSON_ARRAY, json.dumps(ROWS, indent=1).encode()),
        (Kind.JSON_OBJECTS, b"\n".join(json.dumps(row, indent=1).encode() for row in ROWS)),
        (Kind.CSV, "text\n一\ntwo\n".encode()),
    ],
)
def test_the_same_records_come_from_every_kind(kind, content):
    rows = list(read_stream(iter([content[:5], content[5:]]), kind, "a"))
    assert [dict(row.value) for row in rows] == ROWS


def test_lines_are_numbered_from_the_given_one():
    assert [row.number for row in read_stream(iter([LINES]), Kind.JSON_LINES, "a", first=7)] == [7, 8]


def test_members_are_read_passed_over_or_rejected_one_by_one():
    members = [
        Member("a.jsonl", 0, iter([LINES]), False),
        Member("readme.md", 0, iter([b"words"]), False),
        Member("b.jsonl", 0, iter([b"\x00\x01\x02\xff" * 8]), False),
        Member("c.jsonl", 0, iter([b""]), True),
    ]
    passed = []
    rows = list(read_members(iter(members), "x.tar", RECORDS, lambda name: name.endswith(".jsonl"), passed.append))
    assert [(row.member, row.error and row.error.reason) for row in rows] == [
        ("a.jsonl", None),
        ("a.jsonl", None),
        ("c.jsonl", "encrypted"),
    ]
    assert passed == ["x.tar/readme.md", "x.tar/b.jsonl"]


def test_archives_are_taken_always_and_white_space_as_the_first_kind():
    assert kind_as_taken(Kind.TAR, b"x", "a.tar", RECORDS) is Kind.TAR
    assert kind_as_taken(None, b" \n", "a", (Kind.TEXT,)) is Kind.TEXT
    assert kind_as_taken(Kind.PDF, b"%PDF", "a.pdf", RECORDS) is None
