"""The text of a PDF, as its authors' program put it in, and which pages have none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import IO, Any

from steel_megatron.corpus.corpus import Document, RejectedRecordError
from steel_megatron.corpus.readers.pdf_lines import paragraphs
from steel_megatron.corpus.readers.row import Row
from steel_megatron.jobs.needed import needed

CHARACTERS_PER_PAGE = 5  # fewer on average: page numbers and stamps, not text


def read_pdf(file: IO[bytes], name: str) -> Iterator[Row]:
    """One row with ``text``, a paragraph a line, and ``name``; then one for each page that is a picture, not text."""
    pypdf = needed("pypdf", name)
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of every small flaw of a file
    head = name.encode("utf-8", "backslashreplace")
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise RejectedRecordError("encrypted", "it wants a password")
        pages = [page.extract_text() for page in reader.pages]
        characters = sum(len("".join(page.split())) for page in pages)
        if characters < CHARACTERS_PER_PAGE * len(pages) or not pages:
            raise RejectedRecordError("scanned_pdf", f"{characters:,} characters on {len(pages):,} pages")
        rows = [Row(1, None, Document(text=paragraphs(pages), name=name), head=head)]
        for number, (page, text) in enumerate(zip(reader.pages, pages, strict=True), start=1):
            if not text.strip() and _has_picture(page):
                error = RejectedRecordError("scanned_page", f"page {number:,} of {len(pages):,}")
                rows.append(Row(len(rows) + 1, None, error=error, head=head))
        yield from rows
    except RejectedRecordError as error:
        yield Row(1, None, error=error, head=head)
    except (pypdf.errors.DependencyError, pypdf.errors.FileNotDecryptedError) as error:
        yield Row(1, None, error=RejectedRecordError("encrypted", str(error)), head=head)
    except Exception as error:  # whatever pypdf's parsers raise of a damaged file
        yield Row(1, None, error=RejectedRecordError("bad_pdf", f"{type(error).__name__}: {error}"), head=head)


def _has_picture(page: Any) -> bool:
    resources = page.get("/Resources")
    objects = resources.get_object().get("/XObject") if resources is not None else None
    found = objects.get_object().values() if objects is not None else ()
    return any(each.get_object().get("/Subtype") == "/Image" for each in found)
