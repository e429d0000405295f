"""One row per PDF: its text, or why there is none."""

from __future__ import annotations

import io

import pytest

from helpers.pdf_files import PICTURE, pdf_bytes
from steel_megatron.corpus.readers.pdf import CHARACTERS_PER_PAGE, read_pdf


def test_pages_follow_one_another_and_empty_ones_leave_no_line():
    (row,) = read_pdf(io.BytesIO(pdf_bytes(["first page 你好", "", "the third page"])), "a.pdf")
    assert row.error is None
    assert row.value == {"text": "first page 你好\nthe third page", "name": "a.pdf"}
    assert (row.number, row.head) == (1, b"a.pdf")


@pytest.mark.parametrize("pages", [[""], ["ab", "cd"], ["1234", "", "12345678901"[:10]]])
def test_fewer_characters_than_a_page_of_text_has_is_a_scan(pages):
    assert sum(map(len, pages)) < CHARACTERS_PER_PAGE * len(pages)
    (row,) = read_pdf(io.BytesIO(pdf_bytes(pages)), "scan.pdf")
    assert row.value is None
    assert row.error.reason == "scanned_pdf"
    assert f"on {len(pages)} pages" in row.error.detail


def test_just_enough_characters_are_text():
    (row,) = read_pdf(io.BytesIO(pdf_bytes(["x" * CHARACTERS_PER_PAGE])), "a.pdf")
    assert row.value["text"] == "x" * CHARACTERS_PER_PAGE


def test_a_page_that_is_a_picture_is_told_and_a_blank_one_is_not():
    pages = ["the first page has words", PICTURE, "", "the last page has words"]
    text, scan = read_pdf(io.BytesIO(pdf_bytes(pages)), "a.pdf")
    assert text.value["text"] == "the first page has words\nthe last page has words"
    assert (scan.number, scan.error.reason, scan.error.detail) == (2, "scanned_page", "page 2 of 4")


def test_lines_are_joined_over_pages():
    first = "绿茶要用八十度的水来泡，水太热茶就苦，水太凉香气\n就出不来，所以先把水烧开，再放上一小会儿才倒进杯"
    second = "子里，这样茶汤清澈，香气持久，回味也比较甘甜一些。"
    (row,) = read_pdf(io.BytesIO(pdf_bytes([f"{first}\n1", f"{second}\n2"])), "a.pdf")
    assert row.value["text"] == first.replace("\n", "") + second


@pytest.mark.parametrize("content", [b"", b"no pdf at all", pdf_bytes(["long enough text"])[:40]])
def test_a_damaged_file_costs_its_own_row(content):
    (row,) = read_pdf(io.BytesIO(content), "坏.pdf")
    assert row.error.reason == "bad_pdf"
    assert row.head == "坏.pdf".encode()
