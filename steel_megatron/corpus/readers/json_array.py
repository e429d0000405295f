"""The elements of one JSON array, however long, without ever holding more than one of them.

The text is scanned for brackets and strings only as far as the current element goes. Where an element is broken, the
scan goes on at the next place that looks like the beginning of an element: an object with the same first key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.json_value import parse_object
from steel_megatron.corpus.readers.row import HEAD_BYTES, MAX_RECORD_BYTES, Row

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BETWEEN = re.compile(rb"[\s,\]}]*")  # what may stand between elements; brackets are left over from a broken one
_SPACE = re.compile(rb"\s*")
_TOKEN = re.compile(rb'[{}\[\]"]')
_STRING_BODY = re.compile(rb'[^"\\\n]*(?:\\[^\n][^"\\\n]*)*')  # a line feed inside a string is not JSON
_SOMETHING = re.compile(rb"\S")
_SCALAR_END = re.compile(rb"[,\]{]")
_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\\n]|\\[^\n])*"\s*:)')
_OBJECT_LINE = re.compile(rb"\n(?=\{)")
_SEAM_BYTES = 4096  # kept while searching, so that a beginning of an element is found across two reads
_PAIRS = {ord("}"): ord("{"), ord("]"): ord("[")}


class _BrokenError(Exception):
    """The element's brackets or strings do not add up."""


def read_json_array(
    content: Iterable[bytes], max_record_bytes: int = MAX_RECORD_BYTES, brackets: bool = True
) -> Iterator[Row]:
    """A row per element. An array that stops without its end gives a last row that says so.

    Args:
        brackets: False for values one behind the other, without the brackets and commas of an array.
    """
    text = _Text(content)
    _begins(text)
    number = 0
    ended = not brackets
    while True:
        between = text.skip(_BETWEEN)
        ended = ended or b"]" in between
        while brackets and ended and number and _begins(text):  # files of one array each were joined
            ended = b"]" in text.skip(_BETWEEN)
        number += 1
        line = text.line
        if text.at_end():
            if not ended:
                yield Row(number, line, error=RejectedRecordError("bad_json", "the array has no end"))
            return
        ended = not brackets
        head = text.head()
        try:
            element = text.take(_element_end(text, max_record_bytes))
        except _BrokenError as error:
            ended = (
                not _skip_broken(text, brackets) or not brackets
            )  # at the end of the file nothing more is to be said
            yield Row(number, line, error=RejectedRecordError("bad_json", str(error)), head=head)
            continue
        head = element[:HEAD_BYTES]
        try:
            yield Row(number, line, parse_object(element), head=head)
        except RejectedRecordError as error:
            yield Row(number, line, error=error, head=head)


def _begins(text: _Text) -> bool:
    """Drops a byte order mark, white space and the bracket of an array, if they are here; whether one begins."""
    if text.starts_with(_BYTE_ORDER_MARK):
        text.drop(len(_BYTE_ORDER_MARK))
    text.skip(_SPACE)
    if not text.starts_with(b"["):
        return False
    text.drop(1)
    return True


class _Text:
    """The part of the file that is in work; ``data`` begins at the current place."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self.data = bytearray()
        self.line = 1
        self._content = iter(content)

    def more(self) -> bool:
        """Adds to ``data``; False at the end of the file."""
        data = next(self._content, None)
        if data is None:
            return False
        self.data += data
        return True

    def drop(self, count: int) -> None:
        self.line += self.data.count(b"\n", 0, count)
        del self.data[:count]

    def take(self, count: int) -> bytes:
        taken = bytes(self.data[:count])
        self.drop(count)
        return taken

    def head(self) -> bytes:
        while len(self.data) < HEAD_BYTES and self.more():
            pass
        return bytes(self.data[:HEAD_BYTES])

    def starts_with(self, prefix: bytes) -> bool:
        while len(self.data) < len(prefix) and self.more():
            pass
        return self.data.startswith(prefix)

    def at_end(self) -> bool:
        while not self.data:
            if not self.more():
                return True
        return False

    def skip(self, pattern: re.Pattern[bytes]) -> bytes:
        """Drops what the pattern matches here, also across reads."""
        skipped = b""
        while True:
            match = pattern.match(self.data)
            skipped += self.take(match.end() if match else 0)
            if self.data or not self.more():
                return skipped


def _element_end(text: _Text, max_bytes: int) -> int:
    """The number of bytes of the element that begins here."""
    if text.data[0] not in b'{["':
        return _find(text, _SCALAR_END, 1, max_bytes)
    open_brackets: list[int] = []
    at = 0
    while True:
        at = _find(text, _TOKEN, at, max_bytes)
        token = text.data[at]
        at += 1
        if token == ord('"'):
            at = _string_end(text, at, max_bytes)
            following = _find(text, _SOMETHING, at, max_bytes)
            if text.data[following] not in b":,]}":
                raise _BrokenError("a string without a comma or bracket behind it")
        elif token in b"{[":
            if open_brackets and open_brackets[-1] == ord("{") and not _follows_colon(text.data, at - 1):
                raise _BrokenError("a bracket opens where a key is due")
            open_brackets.append(token)
        elif open_brackets.pop() != _PAIRS[token]:
            raise _BrokenError(f"{chr(token)!r} closes another bracket")
        if not open_brackets:
            return at


def _follows_colon(data: bytearray, at: int) -> bool:
    at -= 1
    while data[at] in b" \t\r\n":
        at -= 1
    return data[at] == ord(":")


def _find(text: _Text, pattern: re.Pattern[bytes], start: int, max_bytes: int) -> int:
    while True:
        match = pattern.search(text.data, start)
        if match:
            return match.start()
        start = len(text.data)
        if start > max_bytes:
            raise _BrokenError(f"it does not end within {max_bytes:,} bytes")
        if not text.more():
            raise _BrokenError("the file ends within it")


def _string_end(text: _Text, start: int, max_bytes: int) -> int:
    """The place behind the quotation mark that closes the string."""
    at = start
    while True:
        match = _STRING_BODY.match(text.data, at)
        assert match is not None  # the pattern matches the empty text
        at = match.end()
        rest = text.data[at : at + 2]
        if rest[:1] == b'"':
            return at + 1
        if rest[:1] == b"\n" or rest == b"\\\n":
            raise _BrokenError("a line feed inside a string")
        if len(text.data) > max_bytes:
            raise _BrokenError(f"it does not end within {max_bytes:,} bytes")
        if not text.more():
            raise _BrokenError("the file ends within it")


def _skip_broken(text: _Text, brackets: bool) -> bool:
    """Drops the broken element; False when the file holds no further one.

    Outside an array, an object begins at the beginning of a line.
    """
    key = _FIRST_KEY.match(text.data)
    begin = _OBJECT_LINE
    if brackets:
        begin = re.compile(rb",\s*(?=\{\s*" + re.escape(key[1]) + rb")" if key else rb",\s*(?=\{)")
    searched = 1
    while True:
        match = begin.search(text.data, searched)
        if match:
            text.drop(match.end())
            return True
        text.drop(max(len(text.data) - _SEAM_BYTES, 0))
        searched = 0
        if not text.more():
            text.drop(len(text.data))
            return False
