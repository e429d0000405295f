"""The pages of a WARC or WET file, record by record in constant memory.

The format is ISO 28500: a version line, header fields, a blank line, as many bytes as ``Content-Length`` says, two line
ends. Records that hold no content of a page (requests, metadata, the crawler's notes) are no records here.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

import zstandard

from steel_megatron.config import DataError
from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.html import decode_html
from steel_megatron.corpus.readers.row import HEAD_BYTES, MAX_RECORD_BYTES, Row
from steel_megatron.jobs.files import ContentStream

_BUFFER_BYTES = 1 << 20
_LINE_BYTES = 1 << 16  # of a header line
_PAGES = {"response", "resource", "conversion", "revisit"}
_HTML = ("text/html", "application/xhtml+xml", "application/xml", "text/xml")
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_ROOT = re.compile(rb"\s*(?:<!doctype\s+html|<html|<\?xml[^>]*>\s*<(?:!doctype\s+)?html)", re.IGNORECASE)
_CHUNK = re.compile(rb"\s*([0-9a-fA-F]{1,8})[^\r\n]*\r?\n")
Headers = Mapping[str, str]


def read_warc(content: Iterable[bytes], name: str, max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[Row]:
    """A row per page: ``id``, ``url``, ``date``, ``language`` (as the crawler found it), and ``html`` or ``text``.

    What cannot be read costs its record. A file that is cut or damaged gives a last row that says so.
    """
    stream = io.BufferedReader(ContentStream(content), _BUFFER_BYTES)
    number = 0
    head = name.encode("utf-8", "backslashreplace")
    try:
        for headers, block in _records(stream, max_record_bytes):
            number += 1
            try:
                if isinstance(block, RejectedRecordError):
                    raise block
                yield Row(number, None, _page(headers, block, max_record_bytes), head=block[:HEAD_BYTES])
            except RejectedRecordError as error:
                where = headers.get("warc-target-uri", name).encode("utf-8", "backslashreplace")
                yield Row(number, None, error=error, head=where)
    except DataError as error:  # of the packing: what came before it is whole
        yield Row(number + 1, None, error=RejectedRecordError("bad_warc", str(error).splitlines()[0]), head=head)


def _records(stream: IO[bytes], max_bytes: int) -> Iterator[tuple[Headers, bytes | RejectedRecordError]]:
    """Header fields by lower-case name, and the block, or why there is none; those of pages only."""
    lost = False
    while line := stream.readline(_LINE_BYTES):
        if not line.startswith(b"WARC/"):
            if line.strip() and not lost:
                lost = True
                yield {}, RejectedRecordError("bad_warc", f"no record begins with {line[:40]!r}")
            continue
        lost = False
        headers = _headers(stream)
        length = headers.get("content-length", "")
        if not length.isdigit():
            lost = True
            yield headers, RejectedRecordError("bad_warc", f"Content-Length is {length!r}")
            continue
        wanted = headers.get("warc-type", "").lower() in _PAGES and headers.get("content-type", "") != "text/dns"
        if int(length) > max_bytes or not wanted:
            missing = _skip(stream, int(length))
            if wanted:
                yield headers, RejectedRecordError("too_long", f"{int(length):,} bytes")
        else:
            block = stream.read(int(length))
            missing = int(length) - len(block)
            if not missing:
                yield headers, block
        if missing:
            yield (
                headers,
                RejectedRecordError("bad_warc", f"the file ends {missing:,} bytes before its last record does"),
            )


def _skip(stream: IO[bytes], count: int) -> int:
    """Reads on; the number of bytes that were not there."""
    while count and (data := stream.read(min(count, _BUFFER_BYTES))):
        count -= len(data)
    return count


def _headers(stream: IO[bytes]) -> dict[str, str]:
    """Field → value up to the blank line; a line that begins with white space goes on with the one before."""
    fields: dict[str, str] = {}
    name = ""
    while (line := stream.readline(_LINE_BYTES)) and line.strip():
        if line[:1] in b" \t" and name:
            fields[name] += " " + line.decode("utf-8", "replace").strip()
            continue
        name, _, value = line.decode("utf-8", "replace").partition(":")
        name = name.strip().lower()
        fields[name] = value.strip()
    return fields


def _page(headers: Headers, block: bytes, max_bytes: int) -> dict[str, str]:
    """
    Raises:
        RejectedRecordError: it holds no page.
    """
    kind = headers["warc-type"].lower()
    page = {
        "id": headers.get("warc-record-id", ""),
        "url": headers.get("warc-target-uri", "").strip("<>"),
        "date": headers.get("warc-date", ""),
        "language": headers.get("warc-identified-content-language", ""),
    }
    if kind == "revisit":
        raise RejectedRecordError("revisit", page["url"])
    if kind == "conversion":
        return page | {"text": block.decode("utf-8", "replace")}
    media, body = headers.get("content-type", ""), block
    if kind == "response":
        media, body = _answer(block, max_bytes)
    is_html = media.lower().startswith(_HTML) or (not media.strip() and _ROOT.match(body))
    if is_html or media.lower().startswith("text/plain"):
        charset = _CHARSET.search(media)
        return page | {"html" if is_html else "text": decode_html(body, charset[1] if charset else "")}
    raise RejectedRecordError("not_html", media or "no Content-Type")


def _answer(block: bytes, max_bytes: int) -> tuple[str, bytes]:
    """Media type and content of what a server sent.

    Raises:
        RejectedRecordError: it is no answer, no page, or packed in a way that is not read.
    """
    stream = io.BytesIO(block)
    status = stream.readline(_LINE_BYTES).split(None, 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/"):
        raise RejectedRecordError("bad_http", f"it begins with {block[:40]!r}")
    if status[1] != b"200":
        raise RejectedRecordError("http_status", status[1].decode("ascii", "replace"))
    headers = _headers(stream)
    body = stream.read()
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _whole(body)
    return headers.get("content-type", ""), _unpacked(body, headers.get("content-encoding", "").lower(), max_bytes)


def _whole(body: bytes) -> bytes:
    """A body sent in chunks, without their lengths; as it is where the crawler took them out already."""
    chunks: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        length, at = int(match[1], 16), match.end()
        if not length:
            return b"".join(chunks)
        chunks.append(body[at : at + length])
        at += length
    return b"".join(chunks) if chunks and at >= len(body) else body


def _unpacked(body: bytes, packing: str, max_bytes: int) -> bytes:
    """The content; crawlers often leave the header and unpack the body, so the bytes decide."""
    try:
        if body.startswith(b"\x1f\x8b"):
            content = _inflated(body, 31, max_bytes)
        elif packing == "zstd" and body.startswith(b"\x28\xb5\x2f\xfd"):
            content = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        elif packing == "deflate" and not body.lstrip().startswith(b"<"):
            content = _inflated(body, 15 if body[:1] == b"\x78" else -15, max_bytes)
        elif packing == "br" and not _ROOT.match(body):
            raise RejectedRecordError("bad_http", "its body is packed with brotli")
        else:
            return body
    except (zlib.error, zstandard.ZstdError) as error:
        raise RejectedRecordError("bad_http", f"its body cannot be unpacked: {error}") from None
    return content


def _inflated(body: bytes, window: int, max_bytes: int) -> bytes:
    """A body may be cut: as much of it as there is."""
    unpacking = zlib.decompressobj(window)
    content = unpacking.decompress(body, max_bytes)
    if unpacking.unconsumed_tail:
        raise RejectedRecordError("too_long", f"more than {max_bytes:,} bytes unpacked")
    return content
