"""From one line of JSON to its texts, or to the reason why it is no record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

BAD_UTF8 = "bad_utf8"
BAD_JSON = "bad_json"
NOT_AN_OBJECT = "not_an_object"
MISSING_KEY = "missing_key"
NULL = "null"
NOT_A_STRING = "not_a_string"
LONE_SURROGATE = "lone_surrogate"
NOT_ENCODABLE = "not_encodable"

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
}


class RejectedLineError(Exception):
    """A line that is no record, with one of ``REASONS`` and a detail for the reader."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def texts_of(line: bytes, keys: Sequence[str]) -> list[str]:
    """The texts under the keys of a JSON object.

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
            raise RejectedLineError(
                MISSING_KEY, f"no {key!r} among {', '.join(map(repr, list(record)[:8])) or 'no keys'}"
            )
        if not checked and not _encodable(text):
            raise RejectedLineError(LONE_SURROGATE, f"in {key!r}")
        texts.append(text)
    return texts


def _second_opinion(line: bytes) -> Any:
    """What Python's parser makes of a line that orjson refuses."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RejectedLineError(BAD_UTF8, f"{error.reason} at byte {error.start} of the line") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise RejectedLineError(BAD_JSON, str(error)) from None
    except RecursionError:
        raise RejectedLineError(BAD_JSON, "nested too deeply") from None


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
