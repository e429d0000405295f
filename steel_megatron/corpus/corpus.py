"""What a corpus is: the fields of its records, how they become one text, and why a record is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Kind(str, Enum):
    """What a file holds, whatever its name says."""

    JSON_LINES = "json lines"
    JSON_ARRAY = "json array"
    PARQUET = "parquet"
    TEXT = "text"


RECORDS = (Kind.JSON_LINES, Kind.JSON_ARRAY, Kind.PARQUET)

# Reasons that any corpus may have → what they say of the record.
REASONS = {
    "bad_utf8": "it is not UTF-8",
    "bad_json": "it is not JSON",
    "too_long": "it is longer than a record may be",
    "binary": "it holds NUL bytes, so it is no text in UTF-8",
    "not_an_object": "it is JSON, but not an object",
    "missing_field": "a field that the corpus needs is not there",
    "null_field": "a field that the corpus needs is null",
    "not_a_string": "a field that holds text holds a number, a list, …",
    "lone_surrogate": "the text holds half of a surrogate pair, which is no character",
    "empty": "the text has no character but white space",
    "unexpected": "the corpus's code failed on it; the detail names the exception",
}


class RejectedRecordError(Exception):
    """A record that gives no text: a reason, by which rejects are counted, and a detail for the reader."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Option:
    """A setting of a corpus, and a flag of ``steel convert``."""

    name: str
    default: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class Corpus:
    """One published corpus; a file of ``corpora/`` holds one as ``CORPUS``.

    Args:
        name: the value of ``--corpus``.
        about: one line for people.
        kinds: what its files hold.
        fields: field → what it holds, of those that ``text`` reads.
        text: (record, options) → its text; raises :class:`RejectedRecordError`. The text is normalised afterwards.
        identity: (record, options) → a name of the record unique in the corpus, or None: then file and number are.
        options: settings of this corpus.
        reasons: its own reject reasons → what they say of the record.
        suffixes: endings of the files taken from a folder, before ``.gz`` or ``.zst``; none: every file of the kinds.
    """

    name: str
    about: str
    fields: Mapping[str, str]
    text: Callable[[Mapping[str, Any], Mapping[str, str]], str]
    kinds: tuple[Kind, ...] = RECORDS
    identity: Callable[[Mapping[str, Any], Mapping[str, str]], str | None] = lambda record, options: None
    options: tuple[Option, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    suffixes: tuple[str, ...] = ()


def string(record: Mapping[str, Any], name: str) -> str:
    """A field that must hold text."""
    value = record.get(name)
    if isinstance(value, str):
        return value
    if value is not None:
        raise RejectedRecordError("not_a_string", f"{name!r} is {type(value).__name__}")
    if name in record:
        raise RejectedRecordError("null_field", f"{name!r} is null")
    raise RejectedRecordError("missing_field", f"no {name!r} among {', '.join(map(repr, list(record)[:8])) or 'none'}")


def optional_string(record: Mapping[str, Any], name: str) -> str:
    """A field that holds text, or is null or not there: then the empty text."""
    return "" if record.get(name) is None else string(record, name)
