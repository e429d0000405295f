"""Word documents, EPUBs and WARC files written by hand, as small as the formats allow."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping, Sequence

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"


def zip_bytes(members: Mapping[str, str | bytes]) -> bytes:
    """A zip archive of these members, in order."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def docx_bytes(body: str, styles: str = "", space: str = W) -> bytes:
    """A document with this body; ``w:`` is the name space of both."""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    members = {
        "[Content_Types].xml": f"{head}<Types/>",
        "word/document.xml": (
            f'{head}<w:document xmlns:w="{space}" xmlns:mc="{MC}"><w:body>{body}</w:body></w:document>'
        ),
    }
    if styles:
        members["word/styles.xml"] = f'{head}<w:styles xmlns:w="{space}">{styles}</w:styles>'
    return zip_bytes(members)


def epub_bytes(chapters: Mapping[str, str], spine: Sequence[str], more: Mapping[str, str] | None = None) -> bytes:
    """A book; ``spine`` names chapters in reading order, with ``!`` before those that are not linear."""
    items = "".join(
        f'<item id="{name}" href="text/{name}.xhtml" media-type="application/xhtml+xml"'
        f"{' properties=' + chr(34) + 'nav' + chr(34) if name == 'nav' else ''}/>"
        for name in chapters
    )
    order = "".join(
        f'<itemref idref="{name.lstrip("!")}"{" linear=" + chr(34) + "no" + chr(34) if name[0] == "!" else ""}/>'
        for name in spine
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/content.opf"/></rootfiles></container>'
    )
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{order}</spine></package>'
    )
    pages = {f"OEBPS/text/{name}.xhtml": page for name, page in chapters.items()}
    return zip_bytes(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OEBPS/content.opf": package,
            **pages,
            **(more or {}),
        }
    )


def warc_record(kind: str, block: bytes, **fields: str) -> bytes:
    """A record; names of fields have ``_`` for ``-``."""
    given = {"WARC_Type": kind, "WARC_Record_ID": "<urn:uuid:1>", "WARC_Target_URI": "https://example.com/a", **fields}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"WARC/1.0\r\n{lines}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def warc_answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """What a server sends."""
    given = {"Content_Type": "text/html", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def members_of(records: Sequence[bytes]) -> bytes:
    """As crawlers pack them: a gzip member for each record."""
    return b"".join(gzip.compress(record) for record in records)
