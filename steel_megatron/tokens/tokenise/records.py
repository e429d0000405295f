"""From one line of JSON to its texts, or to the reason why it is no record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from steel_megatron.corpus.corpus import RejectedRecordError, fields_of
from steel_megatron.corpus.readers.json_value import parse_json
from steel_megatron.jobs.files import BYTE_ORDER_MARK

BAD_UTF8 = "bad_utf8"
BAD_JSON = "bad_json"
NOT_AN_OBJECT = "not_an_object"
MISSING_KEY = "missing_key"
NULL = "null"
NOT_A_STRING = "not_a_string"
LONE_SURROGATE = "lone_surrogate"
NOT_ENCODABLE = "not_encodable"
BAD_CONTROL = "bad_control"
UNKNOWN_CONTROL = "unknown_control"
TOO_LONG = "too_long"

CONTROL = "control"  # the field that marks control tokens in the text
TEXT = "text"  # the field that it speaks of

# Reason → what it says of the line.
REASONS = {
    BAD_UTF8: "the line is not UTF-8",
    BAD_JSON: "the line is not JSON",
    NOT_AN_OBJECT: "the line is JSON, but not an object",
    MISSING_KEY: "the object lacks a key of --json-keys",
    NULL: "the value of a key is null",
    NOT_A_STRING: "the value of a key is a number, a list, …",
    LONE_SURROGATE: "a text holds half of a surrogate pair, which is no character",
    NOT_ENCODABLE: "the tokenizer refuses a text",
    BAD_CONTROL: "control is not a list of ascending [start, end] within the text",
    UNKNOWN_CONTROL: "control marks something that is no control token of the vocabulary",
    TOO_LONG: "the line has more than 256 MiB",
}


class RejectedLineError(Exception):
    """A line that is no record, with one of ``REASONS`` and a detail for the reader."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Record(NamedTuple):
    """Texts by key, and the stretches [start, end) of the one under ``text`` that are control tokens."""

    texts: list[str]
    control: list[tuple[int, int]]  # in code points


def texts_of(line: bytes, keys: Sequence[str]) -> list[str]:
    """The texts under the keys of a JSON object; see :func:`record_of`."""
    return record_of(line, keys).texts


def record_of(line: bytes, keys: Sequence[str]) -> Record:
    """The texts under the keys of a JSON object, with its control marks when one key is ``text``.

    What Python's own parser takes is taken: NaN, and half surrogates in other fields than those asked for.

    Raises:
        RejectedLineError: the line is no record.
    """
    checked = True
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record, checked = _second_opinion(line), False
    if not isinstance(record, dict):
        raise RejectedLineError(NOT_AN_OBJECT, f"it is {_kind(record)}")
    texts = []
    for key in keys:
        text = record.get(key)
        if not isinstance(text, str):
            if text is not None:
                raise RejectedLineError(NOT_A_STRING, f"{key!r} is {_kind(text)}")
            if key in record:
                raise RejectedLineError(NULL, f"{key!r} is null")
            raise RejectedLineError(MISSING_KEY, f"no {key!r} among {fields_of(record)}")
        if not checked and not _encodable(text):
            raise RejectedLineError(LONE_SURROGATE, f"in {key!r}")
        texts.append(text)
    marks = record.get(CONTROL)
    if not isinstance(marks, list) or TEXT not in keys:  # another kind of value is a field of somebody else's
        return Record(texts, [])
    return Record(texts, _control(marks, len(texts[keys.index(TEXT)])))


def _control(marks: list[Any], length: int) -> list[tuple[int, int]]:
    at = 0
    spans = []
    for mark in marks:
        if not (isinstance(mark, list) and len(mark) == 2 and all(type(end) is int for end in mark)):
            raise RejectedLineError(BAD_CONTROL, f"{str(mark)[:100]} is no [start, end]")
        start, end = mark
        if not at <= start < end <= length:
            raise RejectedLineError(BAD_CONTROL, f"[{start}, {end}] behind {at} in a text of {length} characters")
        spans.append((start, end))
        at = end
    return spans


def _second_opinion(line: bytes) -> Any:
    """What Python's parser makes of a line that orjson refuses, perhaps for a mark where files were joined."""
    try:
        return parse_json(line.removeprefix(BYTE_ORDER_MARK))
    except RejectedRecordError as error:
        raise RejectedLineError(error.reason, error.detail) from None


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")
