"""What files hold whose names say JSON lines and whose contents do not: failed downloads, other formats, encodings."""

from __future__ import annotations

import codecs
import json
import re

from steel_megatron.jobs.files import BYTE_ORDER_MARK
from steel_megatron.jobs.unpack import unread_packing

EMPTY = "is empty: a download or a copy that never began"
CONVERT = "steel convert makes JSON lines of it"
_ZEROS = 512  # as many at the beginning are no text
_MARKS = (
    (rb"version https://git-lfs\.", "is a Git LFS pointer, not the file: git lfs pull fetches it"),
    (rb"\s*<(?:!doctype\s+html|html\b|\?xml\b)", "is a page of HTML or XML, as a server sends where a download fails"),
    (rb"\0{%d}" % _ZEROS, "begins with zeros: it was not written when the machine stopped"),
    (
        rb"\xff\xfe\0\0|[{\[]\0\0\0|\0\0\0[{\[]",
        "is UTF-32: iconv -f UTF-32 (LE or BE without a mark) -t UTF-8 mends it",
    ),
    (rb"\xff\xfe|\xfe\xff", "is UTF-16: iconv -f UTF-16 -t UTF-8 makes lines of it"),
    (rb"[{\[]\0|\0[{\[]", "is UTF-16 without a mark: iconv -f UTF-16LE (or BE) -t UTF-8 makes lines of it"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP", "is a picture"),
    (rb"SQLite format 3\0", "is an SQLite database"),
    (rb"\x7fELF|MZ\x90", "is a program"),
    (rb"\x93NUMPY", "is an array of NumPy's"),
    (rb"\x80[\x02-\x05][^\n]{0,12}[}\]\x95]", "is a Python pickle"),
    (rb"%PDF-", "is a PDF"),
)
# What steel convert reads, and the commands that read lines do not.
_CONVERTED = (
    (rb"PAR1", "is Parquet"),
    (rb"PK\x03\x04", "is a zip archive"),
    (rb"(?=[^\n\0]{1,100}\0)[\s\S]{257}ustar", "is a tar archive"),
    (rb"\s*\[\s*(?:[{\[]|$)", "is one JSON array"),
    (rb"\s*\{\s*\n\s*\"", "holds JSON objects over several lines"),
)
_ERROR_WORDS = {"code", "detail", "error", "errors", "message", "msg", "reason", "request_id", "status", "success"}
_RECORD = re.compile(rb"[\s\0]*\{")
_SHOWN = 60  # characters of a line, in a message


def suspicion(head: bytes, lines_only: bool = True) -> str:
    """What a file that begins so is instead of JSON lines, for the rest of a sentence; empty where nothing is odd.

    Args:
        head: some thousand bytes, unpacked.
        lines_only: what ``steel convert`` reads as well is odd too.
    """
    if not head:
        return EMPTY
    if packing := unread_packing(head):
        return f"is packed as {packing}, which is not read: unpack it first"
    head = head.removeprefix(BYTE_ORDER_MARK)
    for pattern, says in _MARKS:
        if re.match(pattern, head, re.IGNORECASE):
            return says
    for pattern, says in _CONVERTED:
        if re.match(pattern, head):
            return f"{says}: {CONVERT}" if lines_only else ""
    return _odd_lines(head)


def _odd_lines(head: bytes) -> str:
    """As :func:`suspicion`, of what may be lines."""
    lines = head.split(b"\n")
    whole = lines[:-1] or lines  # the last may be cut
    records = [line for line in whole if _RECORD.match(line)]
    if not records:
        first = next((line for line in whole if line.strip()), b"")
        # Where one line is longer than what was looked at, or a file was cut, records may follow.
        return "" if len(lines) == 1 and not first.isascii() else _no_record(first)
    if not any(_fits(line, "utf-8") for line in records):
        return _encoding(records[0])
    record = records[0].decode("utf-8", "replace")
    try:
        value, end = json.JSONDecoder().raw_decode(record.strip())
    except ValueError:
        return ""  # it is rejected and counted, if it is no cut one
    if isinstance(value, dict) and value and value.keys() <= _ERROR_WORDS and not head.rstrip().count(b"\n"):
        return "is an error message, as a server sends where a download fails"
    behind = record.strip()[end:]
    if re.match(r"\r\s*\{", behind):
        return "has the line ends of old Macs: tr '\\r' '\\n' mends it"
    if re.match(r"\s*\{", behind):
        return "holds several objects in a line: jq -c . writes one a line"
    if behind.strip() == ",":
        return "has a comma behind each record: sed 's/,[[:space:]]*$//' takes them off"
    return ""


def _no_record(line: bytes) -> str:
    if line.startswith(b"\x1e"):
        return "has a record separator before each record: tr -d '\\036' takes them off"
    if sum(byte < 9 or 13 < byte < 32 for byte in line) > len(line) // 20:
        return "is binary"
    shown = line.decode("utf-8", "backslashreplace").strip()
    return f"begins with no record: {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}"


def _encoding(line: bytes) -> str:
    """Says in which encoding a line is that is not UTF-8."""
    for encoding in ("gb18030", "big5"):
        if _fits(line, encoding):
            return f"is not UTF-8 but, it seems, {encoding.upper()}: iconv -f {encoding.upper()} -t UTF-8 mends it"
    return "is not UTF-8; it may be Latin-1 or Windows-1252: iconv -f WINDOWS-1252 -t UTF-8 mends that"


def _fits(line: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(line)
    except UnicodeDecodeError:
        return False
    return True
