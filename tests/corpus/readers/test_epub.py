"""Books: the spine's order, what is no text of theirs, and what is locked."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines
from helpers.document_files import epub_bytes, zip_bytes
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.readers.epub import read_epub


def page(text: str, encoding: str = "utf-8") -> str:
    return (
        f'<?xml version="1.0" encoding="{encoding}"?><html xmlns="http://www.w3.org/1999/xhtml">'
        f"<head><title>不是正文</title></head><body>{text}</body></html>"
    )


CHAPTERS = {
    "b": page("<h1>第二章</h1><p>水温八十度。</p>"),
    "a": page("<h1>第一章</h1><p>茶起源于<ruby>西<rt>xī</rt></ruby>南。</p>"),
    "nav": page("<nav><ol><li>第一章</li><li>第二章</li></ol></nav>"),
    "notes": page("<p>注释。</p>"),
    "unused": page("<p>未用。</p>"),
}


def row_of(data: bytes):
    (row,) = read_epub(io.BytesIO(data), "tea.epub")
    return row


def test_chapters_stand_as_the_spine_has_them() -> None:
    row = row_of(epub_bytes(CHAPTERS, ["nav", "a", "missing", "b", "!notes"]))
    assert row.value == {"text": "第一章\n茶起源于西南。\n第二章\n水温八十度。", "name": "tea.epub"}


LOCK = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:enc="http://www.w3.org/2001/04/xmlenc#">'
    '<enc:EncryptedData><enc:CipherData><enc:CipherReference URI="{}"/></enc:CipherData>'
    "</enc:EncryptedData></encryption>"
)


@pytest.mark.parametrize(("locked", "reason"), [("OEBPS/text/b.xhtml", "encrypted"), ("OEBPS/fonts/a.otf", None)])
def test_a_locked_chapter_locks_the_book_and_a_locked_font_does_not(locked: str, reason: str | None) -> None:
    row = row_of(epub_bytes(CHAPTERS, ["a", "b"], {"META-INF/encryption.xml": LOCK.format(locked)}))
    assert (row.error.reason if row.error else None) == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "bad_epub"),
        (epub_bytes(CHAPTERS, ["a"])[:-40], "bad_epub"),
        (zip_bytes({"META-INF/container.xml": "<a>"}), "bad_epub"),
        (zip_bytes({"META-INF/container.xml": "<a/>"}), "bad_epub"),
        (epub_bytes({"a": page("<img src='1.png'/>")}, ["a"]), "empty"),
        (epub_bytes(CHAPTERS, []), "empty"),
    ],
    ids=["nothing", "cut", "no xml", "no package", "pictures", "no spine"],
)
def test_a_book_that_gives_no_text_says_why(data: bytes, reason: str) -> None:
    row = row_of(data)
    assert row.value is None
    assert row.error.reason == reason


def test_a_folder_of_books(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "tea.epub").write_bytes(epub_bytes(CHAPTERS, ["a", "b"]))
    for corpus in ("epub", "contributed"):
        done = convert_corpus(corpus, [tmp_path / "in"], tmp_path / f"{corpus}.jsonl")
        assert done.manifest.documents == 1
    assert read_json_lines(tmp_path / "epub.jsonl")[0]["id"] == "tea.epub"
