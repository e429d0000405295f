"""What a corpus is: the fields of its records, how they become one text, and why a record is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from steel_megatron.config import Range
from steel_megatron.corpus.chat.marked_text import Text


class Kind(str, Enum):
    """What a file holds, whatever its name says."""

    JSON_LINES = "json lines"
    JSON_ARRAY = "json array"
    JSON_OBJECTS = "json objects over several lines"
    PARQUET = "parquet"
    ARROW = "arrow"
    TEXT = "text"
    LINES = "text, a document a line"
    BLOCKS = "text, documents between blank lines"
    CSV = "csv"
    WORKBOOK = "xlsx"
    HTML = "html"
    PDF = "pdf"
    DOCX = "docx"
    EPUB = "epub"
    WARC = "warc"
    TAR = "tar archive"
    ZIP = "zip archive"


RECORDS = (Kind.JSON_LINES, Kind.JSON_ARRAY, Kind.JSON_OBJECTS, Kind.PARQUET, Kind.ARROW)
TEXTS = (Kind.TEXT, Kind.LINES, Kind.BLOCKS, Kind.HTML)  # a corpus takes text as one of these
ARCHIVES = (Kind.TAR, Kind.ZIP)  # taken by every corpus; what their members hold is told member by member

# Reasons that any corpus may have → what they say of the record.
REASONS = {
    "bad_utf8": "it is not UTF-8",
    "bad_json": "it is not JSON",
    "too_long": "it is longer than a record may be",
    "binary": "a text file holds NUL bytes",
    "bad_encoding": "bytes that are no text in the encoding of the rest of the file, or in any that is known",
    "bad_row": "a table's row has more cells than its header, or a quotation mark that is not closed",
    "bad_workbook": "the xlsx file cannot be read",
    "bad_pdf": "the PDF cannot be read",
    "bad_docx": "the docx file cannot be read",
    "bad_epub": "the EPUB cannot be read",
    "scanned_pdf": "the PDF has pages but next to no text: it is scanned, or drawn",
    "scanned_page": "a page of a PDF is a picture; the others are taken",
    "encrypted": "a PDF, a book or an archive's member is locked, or wants a password",
    "not_an_object": "it is JSON, but not an object",
    "missing_field": "a field that the corpus needs is not there",
    "null_field": "a field that the corpus needs is null",
    "not_a_string": "a field that holds text holds a number, a list, …",
    "lone_surrogate": "the text holds half of a surrogate pair, which is no character",
    "empty": "the text has no character but white space",
    "unexpected": "the corpus's code failed on it; the detail names the exception",
}


Options = Mapping[str, str]


class Document(dict[str, str]):
    """The record of a file that is one document: its ``text`` and ``name``."""


class RejectedRecordError(Exception):
    """A record that gives no text: a reason, by which rejects are counted, and a detail for the reader."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Option:
    """A setting of a corpus, and a flag of ``steel convert``; a whole number if it has a range."""

    name: str
    default: str
    help: str
    choices: tuple[str, ...] = ()
    allowed: Range | None = None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class Corpus:
    """One published corpus; a file of ``corpora/`` holds one as ``CORPUS``.

    Args:
        name: the value of ``--corpus``.
        about: one line for people.
        fields: field → what it holds, of those that ``text`` reads.
        text: (record, options) → its text, with marks (:class:`Text`) or plain; raises
            :class:`RejectedRecordError`. The text is normalised afterwards.
        template: how the fields become the text, in words, for people.
        example: a record as it is published, made up, for the documents and the tests.
        kinds: what its files hold.
        identity: (record, options) → a name of the record unique in the corpus, or None: then file and number are.
        options: settings of this corpus.
        reasons: its own reject reasons → what they say of the record.
        prepare: options → options checked, with what their files hold (as a hash) beside their names.
        suffixes: endings of the files taken from a folder, before ``.gz`` or ``.zst``; none: every file of the kinds.
        splits: names of splits that folders and files may bear; with them there is an option ``split``.
        download: where it is published, for people; of Hugging Face and ModelScope, the data set's name.
        licence: as its publisher states it.
        caution: what a user should know beforehand, and which names of fields could not be verified.
    """

    name: str
    about: str
    fields: Mapping[str, str]
    text: Callable[[Mapping[str, Any], Options], str | Text]
    template: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[Kind, ...] = RECORDS
    identity: Callable[[Mapping[str, Any], Options], str | None] = lambda record, options: None
    options: tuple[Option, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Options], Options] = lambda options: options
    suffixes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    download: str = ""
    licence: str = ""
    caution: str = ""


def string(record: Mapping[str, Any], name: str) -> str:
    """A field that must hold text."""
    value = record.get(name)
    if isinstance(value, str):
        return value
    if value is not None:
        raise RejectedRecordError("not_a_string", f"{name!r} is {type(value).__name__}{records_within(record)}")
    if name in record:
        raise RejectedRecordError("null_field", f"{name!r} is null")
    raise RejectedRecordError("missing_field", f"no {name!r} among {fields_of(record)}")


def text_field(name: str) -> Callable[[Mapping[str, Any], Options], str]:
    """Reads the text of a record from one field."""
    return lambda record, options: string(record, name)


def name_field(name: str) -> Callable[[Mapping[str, Any], Options], str | None]:
    """Reads the name of a record from one field; None where it holds none."""

    def read(record: Mapping[str, Any], options: Options) -> str | None:
        value = record.get(name)
        return value if isinstance(value, str) and value else None

    return read


def fields_of(record: Mapping[str, Any]) -> str:
    """The names of a record's fields, and where its records lie if it holds those of a whole file."""
    return (", ".join(map(repr, list(record)[:8])) or "none") + records_within(record)


def records_within(record: Mapping[str, Any]) -> str:
    """A hint how to make lines of a record that holds those of a whole file, as a list or in columns; else empty."""
    sizes = {len(value) if isinstance(value, list | dict) else None for value in record.values()}
    for name, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f"; {name!r} is a list of objects: jq -c '.[\"{name}\"][]' writes one a line"
        if len(record) > 1 and len(sizes) == 1 and None not in sizes:
            program = f'. as $all | ($all["{name}"] | keys_unsorted[]) as $i | $all | map_values(.[$i])'
            return f"; all fields hold {sizes.pop():,} values: jq -c '{program}' makes lines of the columns"
    return ""


def optional_string(record: Mapping[str, Any], name: str) -> str:
    """A field that holds text, or is null or not there: then the empty text."""
    return "" if record.get(name) is None else string(record, name)


def loose_string(record: Mapping[str, Any], name: str) -> str:
    """As :func:`optional_string`, and a number is taken as it is written; white space at the ends goes."""
    value = record.get(name)
    return str(value) if type(value) in (int, float) else optional_string(record, name).strip()
