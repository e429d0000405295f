"""The text of a Word document (.docx): paragraphs, headings and tables, as they stand in its body."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO
from xml.etree import ElementTree

from steel_megatron.corpus.corpus import Document, RejectedRecordError
from steel_megatron.corpus.readers.epub import member
from steel_megatron.corpus.readers.row import Row

DOCUMENT = "word/document.xml"
_STYLES = "word/styles.xml"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
# Documents that are saved as strict Open XML have another name space.
_STRICT = b"http://purl.oclc.org/ooxml/wordprocessingml/main"
_FALLBACK = (
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # the same once more, for old readers
)
_WRITTEN = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_LEFT = {f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}pPr", f"{_W}rPr", _FALLBACK}
_HEADING = re.compile(r"(?:heading|标题)\s*(\d)", re.IGNORECASE)


def read_docx(file: IO[bytes], name: str) -> Iterator[Row]:
    """One row with ``text`` and ``name``.

    A heading begins with as many ``#`` as its level; a row of a table is a line, its cells separated by tabs. What was
    deleted under revision goes, and so do heads, feet, notes and the numbers that Word puts before lists.
    """
    head = name.encode("utf-8", "backslashreplace")
    try:
        with zipfile.ZipFile(file) as archive:
            levels = _levels(_tree(archive, _STYLES)) if _STYLES in archive.namelist() else {}
            body = _tree(archive, DOCUMENT).find(f"{_W}body")
        if body is None:
            raise RejectedRecordError("bad_docx", "it has no body")
        yield Row(1, None, Document(text="\n".join(_blocks(body, levels)), name=name), head=head)
    except RejectedRecordError as error:
        yield Row(1, None, error=error, head=head)
    except RuntimeError as error:  # zipfile's word for a password
        yield Row(1, None, error=RejectedRecordError("encrypted", str(error)), head=head)
    except Exception as error:  # whatever the zip and XML readers raise of a damaged file
        reason = RejectedRecordError("bad_docx", f"{type(error).__name__}: {error}")
        yield Row(1, None, error=reason, head=head)


def _tree(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    return ElementTree.fromstring(member(archive, name).replace(_STRICT, _W[1:-1].encode()))


def _levels(styles: ElementTree.Element) -> dict[str, int]:
    """Name of a paragraph style → level of heading, from 1; Chinese Word calls them 1, 2 …, the names inside tell."""
    found = {}
    for style in styles.iter(f"{_W}style"):
        named = style.find(f"{_W}name")
        heading = _HEADING.match("" if named is None else named.get(f"{_W}val", ""))
        level = int(heading[1]) if heading else _outline(style)
        if level:
            found[style.get(f"{_W}styleId", "")] = level
    return found


def _outline(node: ElementTree.Element) -> int:
    level = node.find(f"{_W}pPr/{_W}outlineLvl")
    value = "9" if level is None else level.get(f"{_W}val", "9")
    return int(value) + 1 if value.isdigit() and int(value) < 9 else 0


def _blocks(parent: ElementTree.Element, levels: Mapping[str, int]) -> Iterator[str]:
    """The lines of paragraphs and tables in their order, those within other elements too."""
    for node in parent:
        if node.tag == f"{_W}p":
            text = _text(node).strip("\n")
            if text.strip():
                yield "#" * _level(node, levels) + " " * bool(_level(node, levels)) + text
        elif node.tag == f"{_W}tbl":
            for row in node.iter(f"{_W}tr"):
                cells = [" ".join(" ".join(_blocks(cell, {})).split()) for cell in row.findall(f"{_W}tc")]
                if any(cells):
                    yield "\t".join(cells)
        elif node.tag not in _LEFT:
            yield from _blocks(node, levels)


def _level(paragraph: ElementTree.Element, levels: Mapping[str, int]) -> int:
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    return _outline(paragraph) or levels.get("" if style is None else style.get(f"{_W}val", ""), 0)


def _text(node: ElementTree.Element) -> str:
    """What a paragraph says; text boxes anchored in it come behind, on lines of their own."""
    pieces: list[str] = []
    boxes: list[str] = []
    for child in node:
        if child.tag in _LEFT:
            continue
        if child.tag == f"{_W}t":
            pieces.append(child.text or "")
        elif child.tag in _WRITTEN:
            pieces.append(_WRITTEN[child.tag])
        elif child.tag == f"{_W}txbxContent":
            boxes += ["\n", "\n".join(_blocks(child, {}))]
        else:
            pieces.append(_text(child))
    return "".join(pieces + boxes)
