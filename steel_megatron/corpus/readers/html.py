"""Pages of HTML: in which encoding they are written, and all of their text, block by block."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

from steel_megatron.corpus.corpus import Document, RejectedRecordError
from steel_megatron.corpus.readers.encoding import BROKEN, MARKING, MOST_BROKEN, detect_encoding
from steel_megatron.corpus.readers.row import HEAD_BYTES, MAX_RECORD_BYTES, Row

_META = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{2,20})""", re.IGNORECASE)
_META_BYTES = 4096  # browsers look no further than 1,024
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "iso-8859-1": "cp1252", "ascii": "cp1252"}
_SILENT = {"head", "script", "style", "noscript", "template", "svg", "math", "rt", "rp", "object", "iframe"}
_BLOCK = re.compile(
    "address|article|aside|blockquote|body|br|caption|center|d[dlt]|details|div|fieldset|figcaption|figure|foot(?:er)?|form"
    "|h[1-6r]|header|html|li|main|nav|[ou]l|opt(?:group|ion)|p|pre|section|summary|table|t(?:body|foot|head|r)"
)
_CJK = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f"
_WRAPPED = re.compile(f"(?<=[{_CJK}])[ \t]*\r?\n\\s*(?=[{_CJK}])")  # a line end of the source within Chinese


def read_html(content: Iterable[bytes], name: str, max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[Row]:
    """One row with the page as ``html`` and ``name``."""
    data = b""
    for more in content:
        data += more
        if len(data) > max_record_bytes:
            error = RejectedRecordError("too_long", f"more than {max_record_bytes:,} bytes")
            yield Row(1, 1, error=error, head=data[:HEAD_BYTES])
            return
    try:
        yield Row(1, 1, Document(html=decode_html(data), name=name), head=data[:HEAD_BYTES])
    except RejectedRecordError as error:
        yield Row(1, 1, error=error, head=data[:HEAD_BYTES])


def decode_html(data: bytes, declared: str = "") -> str:
    """The page as text. A byte order mark counts, then UTF-8 that cannot be chance, then what is declared (outside,
    then inside) where it fits; where nothing does, the bytes are looked at.

    Pages that say GB2312 are read as GB18030, which holds it.

    Args:
        declared: the charset of the HTTP header, if any.

    Raises:
        RejectedRecordError: ``bad_encoding``.
    """
    inside = _META.search(data[:_META_BYTES])
    marked = data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    names = (declared, inside[1].decode("ascii", "replace") if inside else "")
    text = "" if marked else _sure_utf8(data) or next(filter(None, (_fits(data, name) for name in names)), "")
    if text:
        return text
    encoding = detect_encoding(data)
    if encoding is None:
        raise RejectedRecordError("bad_encoding", "it is not text in any known encoding")
    return data.decode(encoding, "replace")


def _sure_utf8(data: bytes) -> str:
    """The text, but for a character cut at its end, where characters of three bytes say that it is UTF-8.

    Two bytes may be one of GBK by chance.
    """
    try:
        decoder = codecs.getincrementaldecoder("utf-8")()
        text = decoder.decode(data)
    except UnicodeDecodeError:
        return ""
    rest = "\ufffd" if decoder.getstate()[0] else ""
    return text + rest if re.search("[\u0800-\U0010ffff]", text) else ""


def _fits(data: bytes, name: str) -> str:
    """The text in that encoding, with broken bytes as marks of replacement; empty where it is another encoding."""
    name = name.strip().strip("\"'").lower()
    try:
        codec = codecs.lookup(_WIDER.get(name, name)).name
        text = data.decode(codec, MARKING)
    except (LookupError, UnicodeError, ValueError):
        return ""
    beyond = len(text) - len(re.sub(r"[^\x00-\x7f]", "", text))
    # Pages cut in the midst of a character have one broken byte or two, whatever they are written in.
    if text.count(BROKEN) > max(2, MOST_BROKEN * beyond) or "\0" in text:
        return ""
    return text.replace(BROKEN, "\ufffd")


def page_text(html: str) -> str:
    """All the text that a reader sees, a block a line, cells of tables separated by tabs; pronunciations are left."""
    reader = _Text()
    reader.feed(html)
    reader.close()
    return reader.text()


class _Text(HTMLParser):
    """Collects text; within ``pre``, line ends count."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._silent: list[str] = []
        self._pre = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _SILENT:
            self._silent.append(tag)
        self._pre += tag == "pre"
        if tag in ("td", "th"):
            self._pieces.append("\0")
        elif _BLOCK.fullmatch(tag):
            self._pieces.append("\n")

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        if _BLOCK.fullmatch(tag):
            self._pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:  # also where those within it were never closed
            while self._silent.pop() != tag:
                pass
        self._pre -= tag == "pre" and self._pre > 0
        if tag == "body":
            self._silent.clear()
        if _BLOCK.fullmatch(tag):
            self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        if self._pre:
            self._pieces.append(data.replace("\0", ""))
        else:
            self._pieces.append(re.sub(r"[ \t\r\n\f\0]+", " ", _WRAPPED.sub("", data)))

    def text(self) -> str:
        lines = []
        for line in "".join(self._pieces).split("\n"):
            cells = [cell.strip(" \t") for cell in line.split("\0")]
            cells = cells[1:] if len(cells) > 1 and not cells[0] else cells
            if any(cells):
                lines.append("\t".join(cells) if len(cells) > 1 else line.rstrip() if "  " in line else cells[0])
        return "\n".join(lines)
