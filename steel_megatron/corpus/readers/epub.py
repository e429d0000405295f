"""The text of an EPUB, chapter after chapter as its spine has them."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import IO
from urllib.parse import unquote
from xml.etree import ElementTree

from steel_megatron.corpus.corpus import Document, RejectedRecordError
from steel_megatron.corpus.readers.html import decode_html, page_text
from steel_megatron.corpus.readers.row import MAX_RECORD_BYTES, Row

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def read_epub(file: IO[bytes], name: str) -> Iterator[Row]:
    """One row with ``text`` and ``name``; the table of contents and what lies outside of the spine are left."""
    head = name.encode("utf-8", "backslashreplace")
    try:
        with zipfile.ZipFile(file) as book:
            text = "\n".join(filter(None, map(page_text, _chapters(book))))
        if not text.strip():
            raise RejectedRecordError("empty", "pages of pictures only")
        yield Row(1, None, Document(text=text, name=name), head=head)
    except RejectedRecordError as error:
        yield Row(1, None, error=error, head=head)
    except RuntimeError as error:  # zipfile's word for a password
        yield Row(1, None, error=RejectedRecordError("encrypted", str(error)), head=head)
    except Exception as error:  # whatever the zip and XML readers raise of a damaged file
        reason = RejectedRecordError("bad_epub", f"{type(error).__name__}: {error}")
        yield Row(1, None, error=reason, head=head)


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's content.

    Raises:
        RejectedRecordError: it is longer than a record may be.
    """
    if archive.getinfo(name).file_size > MAX_RECORD_BYTES:
        raise RejectedRecordError("too_long", name)
    return archive.read(name)


def _chapters(book: zipfile.ZipFile) -> Iterator[str]:
    """The pages of the spine in their order."""
    container = ElementTree.fromstring(member(book, _CONTAINER))
    package_path = next((node.get("full-path", "") for node in container.iter() if _tag(node) == "rootfile"), "")
    package = ElementTree.fromstring(member(book, package_path))
    items = {node.get("id"): node for node in package.iter() if _tag(node) == "item"}
    locked = _locked(book)
    for reference in (node for node in package.iter() if _tag(node) == "itemref"):
        item = items.get(reference.get("idref"))
        if item is None or reference.get("linear") == "no" or "nav" in item.get("properties", "").split():
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(package_path), unquote(item.get("href", ""))))
        if path in locked:
            raise RejectedRecordError("encrypted", f"{path} is under a lock of its seller")
        if item.get("media-type") in _PAGES:
            yield decode_html(member(book, path))


def _locked(book: zipfile.ZipFile) -> set[str]:
    """The members that are encrypted; of many books these are fonts alone."""
    if _ENCRYPTION not in book.namelist():
        return set()
    tree = ElementTree.fromstring(member(book, _ENCRYPTION))
    return {unquote(node.get("URI", "")) for node in tree.iter() if _tag(node) == "CipherReference"}


def _tag(node: ElementTree.Element) -> str:
    """Its name without the name space."""
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
