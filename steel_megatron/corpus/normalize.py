"""The one normalisation of texts of every corpus.

It changes what a character is written with, never what is said: full-width punctuation, spaces, tabs and blank lines
stay as they are. Normalising twice is normalising once.
"""

from __future__ import annotations

import re
import unicodedata
from typing import overload

from steel_megatron.corpus.chat.marked_text import Mark, Text
from steel_megatron.corpus.corpus import RejectedRecordError

# Tab and line feed are the control characters that text needs.
_MESS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRAY = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85]")


@overload
def normalize(text: str) -> str: ...
@overload
def normalize(text: Text) -> Text: ...
@overload
def normalize(text: str | Text) -> str | Text: ...


def normalize(text: str | Text) -> str | Text:
    """The text in NFC, lines ended by line feeds, without U+FEFF and stray control characters.

    A vertical tab, form feed or next-line character separates lines, so it becomes a line feed. Of a :class:`Text`,
    each plain piece is normalised by itself, and the marks stay: no character is composed across a mark.

    Raises:
        RejectedRecordError: half a surrogate pair, which no UTF-8 can hold; or nothing but white space.
    """
    if isinstance(text, Text):
        pieces = [piece if isinstance(piece, Mark) else clean(piece) for piece in text.pieces]
        if all(isinstance(piece, Mark) or not piece or piece.isspace() for piece in pieces):
            raise RejectedRecordError("empty")
        return Text.of(pieces)
    text = clean(text)
    if not text or text.isspace():
        raise RejectedRecordError("empty")
    return text


def clean(text: str) -> str:
    """What :func:`normalize` makes of a string, which may be empty.

    Raises:
        RejectedRecordError: half a surrogate pair.
    """
    if _MESS.search(text):
        if _SURROGATE.search(text):
            raise RejectedRecordError("lone_surrogate")
        text = _LINE_END.sub("\n", _STRAY.sub("", text))
    return text if text.isascii() else unicodedata.normalize("NFC", text)
