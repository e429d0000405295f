"""In which encoding a text is written, where nobody says so."""

from __future__ import annotations

import codecs
import re

from steel_megatron.jobs.needed import needed

BROKEN = "\udcff"  # stands for bytes that are no text, in what :data:`MARKING` decodes
MARKING = "steel-mark"  # the name of that way to treat errors
MOST_BROKEN = 0.01  # of the characters beyond ASCII: with more, it is another encoding

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Two bytes each: the 3,755 most frequent characters of Chinese and its punctuation, in the order of each standard.
# Text of the other encoding, or of none, seldom hits them.
_FREQUENT = {
    "gb18030": (re.compile(rb"[\xa1\xa3\xb0-\xd7][\xa1-\xfe]"), re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")),
    "big5": (
        re.compile(rb"[\xa1\xa4-\xc6][\x40-\x7e\xa1-\xfe]"),
        re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]"),
    ),
}
_ENOUGH_FREQUENT = 0.7


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return BROKEN, error.end


codecs.register_error(MARKING, _mark)


def detect_encoding(data: bytes, whole: bool = True) -> str | None:
    """A name that Python's codecs know, or None: a byte order mark's; UTF-8; GB18030 or Big5; else what
    charset-normalizer says.

    Args:
        whole: ``data`` is all; else its last character may be cut.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    if data.isascii() or _fits(data, "utf-8", whole):
        return "utf-8"
    frequent = {name: _share_of_frequent(data, name) for name in _FREQUENT if _fits(data, name, whole)}
    best = max(frequent, key=frequent.__getitem__, default=None)
    if best is not None and frequent[best] >= _ENOUGH_FREQUENT:
        return best
    return _guess(data)


def _fits(data: bytes, encoding: str, whole: bool) -> bool:
    text = codecs.getincrementaldecoder(encoding)(MARKING).decode(data, final=whole)
    beyond = sum(len(run) for run in re.findall(r"[^\x00-\x7f]+", text))
    broken = text.count(BROKEN)
    # One bad byte in a short text is not yet another encoding.
    return broken <= MOST_BROKEN * beyond or (broken <= 2 and beyond >= 10 * broken)


def _share_of_frequent(data: bytes, encoding: str) -> float:
    frequent, any_pair = _FREQUENT[encoding]
    pairs = any_pair.findall(data)
    return sum(1 for pair in pairs if frequent.match(pair)) / max(len(pairs), 1)


def _guess(data: bytes) -> str | None:
    from_bytes = needed("charset_normalizer", "a text in neither UTF-8, GB18030 nor Big5").from_bytes
    best = from_bytes(data).best()
    return best.encoding if best is not None else None
