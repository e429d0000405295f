"""The text of a PDF, as its authors' program put it in."""

from __future__ import annotations

import logging
from typing import IO

from steel_megatron.config import ConfigError
from steel_megatron.corpus.corpus import Document, RejectedRecordError
from steel_megatron.corpus.readers.row import Row

CHARACTERS_PER_PAGE = 5  # fewer on average: page numbers and stamps, not text


def read_pdf(file: IO[bytes], name: str) -> Row:
    """One row with ``text``, the pages one after another, and ``name``."""
    try:
        import pypdf
        from pypdf.errors import DependencyError, FileNotDecryptedError
    except ImportError:
        raise ConfigError(
            f"{name} is PDF, and pypdf is not installed", fix='pip install "steel-megatron[corpus]"'
        ) from None
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of every small flaw of a file
    head = name.encode("utf-8", "backslashreplace")
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise RejectedRecordError("encrypted", "it wants a password")
        pages = [page.extract_text().strip() for page in reader.pages]
        characters = sum(len("".join(page.split())) for page in pages)
        if characters < CHARACTERS_PER_PAGE * len(pages) or not pages:
            raise RejectedRecordError("scanned_pdf", f"{characters:,} characters on {len(pages):,} pages")
        return Row(1, None, Document(text="\n".join(filter(None, pages)), name=name), head=head)
    except RejectedRecordError as error:
        return Row(1, None, error=error, head=head)
    except (DependencyError, FileNotDecryptedError) as error:
        return Row(1, None, error=RejectedRecordError("encrypted", str(error)), head=head)
    except Exception as error:  # whatever pypdf's parsers raise of a damaged file
        return Row(1, None, error=RejectedRecordError("bad_pdf", f"{type(error).__name__}: {error}"), head=head)
