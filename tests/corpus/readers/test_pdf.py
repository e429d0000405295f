"""One row per PDF: its text, or why there is none."""

from __future__ import annotations

import io

import pytest

from helpers.pdf_files import pdf_bytes
from steel_megatron.corpus.readers.pdf import CHARACTERS_PER_PAGE, read_pdf


def test_pages_follow_one_another_and_empty_ones_leave_no_line():
    row = read_pdf(io.BytesIO(pdf_bytes(["first page 你好", "", "the third page"])), "a.pdf")
    assert row.error is None
    assert row.value == {"text": "first page 你好\nthe third page", "name": "a.pdf"}
    assert (row.number, row.head) == (1, b"a.pdf")


@pytest.mark.parametrize("pages", [[""], ["ab", "cd"], ["1234", "", "12345678901"[:10]]])
def test_fewer_characters_than_a_page_of_text_has_is_a_scan(pages):
    assert sum(map(len, pages)) < CHARACTERS_PER_PAGE * len(pages)
    row = read_pdf(io.BytesIO(pdf_bytes(pages)), "scan.pdf")
    assert row.value is None
    assert row.error.reason == "scanned_pdf"
    assert f"on {len(pages)} pages" in row.error.detail


def test_just_enough_characters_are_text():
    row = read_pdf(io.BytesIO(pdf_bytes(["x" * CHARACTERS_PER_PAGE])), "a.pdf")
    assert row.value["text"] == "x" * CHARACTERS_PER_PAGE


@pytest.mark.parametrize("content", [b"", b"no pdf at all", pdf_bytes(["long enough text"])[:40]])
def test_a_damaged_file_costs_its_own_row(content):
    row = read_pdf(io.BytesIO(content), "坏.pdf")
    assert row.error.reason == "bad_pdf"
    assert row.head == "坏.pdf".encode()
