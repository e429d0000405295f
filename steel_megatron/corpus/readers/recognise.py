"""What a file holds, told from its first bytes."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Sequence

from steel_megatron.config import DataError
from steel_megatron.corpus.corpus import TEXTS, Kind
from steel_megatron.corpus.readers.docx import DOCUMENT
from steel_megatron.corpus.readers.encoding import detect_encoding
from steel_megatron.jobs.files import BYTE_ORDER_MARK

HEAD_BYTES = 1 << 16
WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ARROW = (b"\xff\xff\xff\xff", b"ARROW1\0\0")  # of the stream that datasets writes, and of a file
_IN_ZIP = {"xl/workbook.xml": Kind.WORKBOOK, DOCUMENT: Kind.DOCX, "META-INF/container.xml": Kind.EPUB}
_NAMED = {".xlsx": Kind.WORKBOOK, ".docx": Kind.DOCX, ".epub": Kind.EPUB}
_TAR_BLOCK = 512
_DELIMITERS = ",\t;|"
_SNIFFED_LINES = 50
_FEWEST_ROWS = 3
_MOSTLY = 0.8
_OBJECT_BEGINS = re.compile(rb'(?:\A|[\n\0\[])\s*\{\s*"[^"\n\0]{1,200}"\s*:')  # which no other format holds so


def recognise(head: bytes, zip_names: Callable[[], Sequence[str]] = list, name: str = "") -> Kind | None:
    """The kind of a file with this (unpacked) beginning; None for binary content of no known kind.

    Records whose first lines are broken are still JSON lines if any line of ``head`` begins like an object. Tables
    in text are :attr:`Kind.TEXT` here; :func:`settle` decides with what the corpus takes.

    Args:
        zip_names: the members' names, asked for where ``head`` begins like a zip file: a workbook is one too.
        name: the file's, which counts where a zip file is damaged.

    Raises:
        DataError: as ``zip_names`` does, of a file that is named like an archive; a document costs itself alone.
    """
    if head.startswith(b"PAR1"):
        return Kind.PARQUET
    if head.startswith(b"PK\x03\x04"):
        try:
            names = zip_names()
        except DataError:
            named = next((kind for ending, kind in _NAMED.items() if name.lower().endswith(ending)), None)
            if named is None:
                raise
            return named
        known = next((kind for name, kind in _IN_ZIP.items() if name in names), None)
        if known:
            return known
        return None if "[Content_Types].xml" in names else Kind.ZIP  # other office files
    if _is_tar(head):
        return Kind.TAR
    if head.startswith(b"WARC/"):
        return Kind.WARC
    if re.match(rb"\s*%PDF-", head.removeprefix(BYTE_ORDER_MARK)):
        return Kind.PDF
    if head.startswith(_ARROW):
        return Kind.ARROW
    if head.startswith(WIDE_MARKS):
        return Kind.TEXT
    if b"\0" in head:
        if not _OBJECT_BEGINS.search(head):
            return None
        head = head.replace(b"\0", b" ")  # a record with such a byte costs that record, not the file
    content = head.removeprefix(BYTE_ORDER_MARK).lstrip()
    if re.match(rb"\[\s*(?:[\[{\]]|$)", content):
        return Kind.JSON_ARRAY
    if re.match(rb'\{\s*\n\s*"', content):
        return Kind.JSON_OBJECTS
    if re.search(rb"^[ \t]*\{", content, re.MULTILINE):
        return Kind.JSON_LINES
    return Kind.TEXT


def settle(kind: Kind | None, head: bytes, name: str, taken: Sequence[Kind]) -> Kind | None:
    """The kind as which a corpus that takes the kinds ``taken`` reads the file; None where it does not.

    A table in text has several cells in every line. Where a file has one, it is a table only if it is named like one.
    """
    if kind in taken and kind is not Kind.TEXT:
        return kind
    text = next((each for each in TEXTS if each in taken), None)
    if kind is None:
        return text if tuple(taken) == (text,) else None  # refused as a record, with its reason
    looks_like_records = head.removeprefix(BYTE_ORDER_MARK).lstrip().startswith((b"{", b"["))
    textual = kind in (Kind.TEXT, Kind.JSON_LINES, Kind.JSON_ARRAY, Kind.JSON_OBJECTS)
    if not textual or (looks_like_records and kind is not Kind.TEXT and text is None):
        return None
    if Kind.CSV in taken and (text is None or is_table(head, name)):
        return Kind.CSV
    return text


def is_table(head: bytes, name: str = "") -> bool:
    """Whether text that begins so is a table: named like one, or its lines have as many cells as the first."""
    if re.search(r"\.[ct]sv(\.|$)", name.lower()):
        return True
    text = decoded_head(head)
    delimiter = delimiter_of(text)
    if delimiter is None:
        return False
    rows = [row for row in csv.reader(text.splitlines()[:_SNIFFED_LINES], delimiter=delimiter) if any(row)]
    same = sum(len(row) == len(rows[0]) for row in rows)
    return len(rows) >= _FEWEST_ROWS and all(rows[0]) and same >= _MOSTLY * len(rows)


def decoded_head(head: bytes) -> str:
    """The beginning as text, without a character that is cut at its end."""
    encoding = detect_encoding(head, whole=False) or "latin-1"
    return codecs.getincrementaldecoder(encoding)("replace").decode(head).removeprefix("\ufeff")


def delimiter_of(text: str) -> str | None:
    """What cuts the first line into the most cells; None where nothing does."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    cells = {delimiter: len(next(csv.reader([first], delimiter=delimiter), [])) for delimiter in _DELIMITERS}
    best = max(cells, key=cells.__getitem__)
    return best if cells[best] > 1 else None


def _is_tar(head: bytes) -> bool:
    """By the checksum of its first header, which every kind of tar has."""
    header = head[:_TAR_BLOCK]
    stated = re.match(rb"[ 0]*([0-7]+)[ \0]", header[148:156])
    if len(header) < _TAR_BLOCK or not stated or not header[0]:
        return False
    return int(stated[1], 8) == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
