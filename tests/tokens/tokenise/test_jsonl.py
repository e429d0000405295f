"""The C++ parser of JSON lines: never another text than Python's parsers give, never a line taken that they refuse."""

from __future__ import annotations

import json
import random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.json_lines import LINES
from steel_megatron._jsonl import extract
from steel_megatron.tokens.tokenise.records import RejectedLineError, texts_of

KEYS = ["text", "b"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=3),
    max_leaves=8,
)


def python_says(line: bytes, keys: list[str]) -> list[str] | None:
    try:
        return texts_of(line, keys)
    except RejectedLineError:
        return None


def check(line: bytes, keys: list[str]) -> bool:
    """Compares one line; returns whether the C++ parser took it."""
    texts, odd, lines, blank, count = extract(line, keys, "control")
    assert count == (1 if line else 0)
    if not line.strip():
        assert (texts, odd, blank, len(lines)) == ([[] for _ in keys], [], count, 0)
        return False
    assert lines.tolist() == [[1, 0, len(line)]]
    if odd:
        assert texts == [[None] for _ in keys]
        return False
    assert [column[0] for column in texts] == python_says(line, keys)
    return True


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:40]))
def test_lines(line):
    taken = check(line, ["text"])
    if LINES[line] is not None:
        assert not taken


@given(st.dictionaries(st.sampled_from([*KEYS, "x", "te\\xt"]), st.text() | json_values), st.booleans(), st.booleans())
def test_objects(record, ascii_only, spaced):
    record["text"] = str(record.get("text"))
    separators = None if spaced else (",", ":")
    line = json.dumps(record, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "replace")
    taken = check(line, ["text"])
    if ascii_only and "NaN" not in str(line) and "Infinity" not in str(line) and b"\\ud" not in line:
        assert taken  # the fast way is taken where nothing is odd


@given(st.binary(max_size=60).filter(lambda data: b"\n" not in data))
def test_any_bytes(line):
    check(line, ["text"])
    check(b'{"text":"' + line + b'"}', ["text"])
    check(b'{"text":"x","y":' + line + b"}", ["text"])


@given(st.text(alphabet='{}[]":,\\utex019dD8Ff-+.eE \t\rnl\x00é中😀', max_size=60))
@settings(max_examples=500)
def test_texts_made_of_the_letters_of_json(text):
    check(text.encode(), ["text"])
    check(('{"text":"' + text + '"}').encode(), ["text"])
    check(('{"text":"a","text":"' + text + '"}').encode(), ["text"])
    check(('{"a":"' + text + '","text":"b"}').encode(), ["text"])


def test_damaged_lines():
    generator = random.Random(5)
    line = json.dumps({"id": [1, -2.5e3, None, True], "text": '中文"\\\n\x07é😀', "b": {"text": "in"}}).encode()
    for data in (line, json.dumps(json.loads(line), ensure_ascii=False).encode()):
        assert check(data, ["text"])
        for _ in range(3000):
            damaged = bytearray(data)
            for _ in range(generator.randint(1, 2)):
                place = generator.randrange(len(damaged))
                damaged[place : place + generator.randint(0, 2)] = generator.choice(
                    [b"", b"\\", b'"', b"\xed\xa0\x80", b"\x80", b"}", b"0", b"\\u", b"d800", b"\x1f"]
                )
            check(bytes(damaged), ["text"])


def test_many_lines_with_their_places():
    data = b'{"text": "a", "b": "c"}\n\n \t\r\n{"b": "no text"}\r\n{"b": "\\u4e2d", "text": ""}'
    texts, odd, lines, blank, count = extract(data, KEYS, "control")
    assert texts == [["a", None, ""], ["c", None, "中"]]
    assert (odd, blank, count) == ([1], 2, 5)
    assert [data[start:stop][:6] for _, start, stop in lines.tolist()] == [b'{"text', b'{"b": ', b'{"b": ']
    assert lines[:, 0].tolist() == [1, 4, 5]


def test_the_reserved_key_is_for_a_closer_look():
    assert extract(b'{"text": "x", "control": []}', ["text"], "control")[1] == [0]
    assert extract(b'{"text": "x", "contro\\u006c": 1}', ["text"], "control")[1] == [0]
    assert extract(b'{"text": "x", "y": {"control": 1}}', ["text"], "control")[1] == []


def test_long_texts_and_deep_nesting():
    text = "中文\t" * 200_000
    line = orjson.dumps({"text": text, "x": json.loads("[" * 90 + "]" * 90)})
    assert check(line, ["text"])
    assert not check(b'{"text": "x", "y": ' + b"[" * 5000 + b"]" * 5000 + b"}", ["text"])
