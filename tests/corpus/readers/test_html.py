"""Encodings of pages, and all of their text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.corpus_files import pieces
from steel_megatron.corpus import RejectedRecordError
from steel_megatron.corpus.readers.html import decode_html, page_text, read_html

SAID = "朱镕基说：绿茶要用八十度的水来泡，水太热茶就苦。" * 3


@pytest.mark.parametrize(
    ("encoding", "declared", "meta"),
    [
        ("gb18030", "gb2312", ""),  # 镕 is no character of GB2312, which pages that hold it still say
        ("gb18030", "", "gb2312"),
        ("gb18030", "utf-8", "gbk"),  # the server says what is not so
        ("gb18030", "", ""),
        ("utf-8", "gb2312", ""),
        ("utf-8", "", "gb2312"),
        ("utf-8", "iso-8859-1", "utf-8"),
        ("utf-8-sig", "gbk", "gbk"),
        ("utf-16", "utf-16", ""),
        ("utf-8", "no-such-charset", "x-none"),
    ],
)
def test_the_encoding_that_fits_is_taken(encoding: str, declared: str, meta: str) -> None:
    head = f'<meta http-equiv="Content-Type" content="text/html; charset={meta}">' if meta else ""
    page = f"<html>{head}<p>{SAID}</p></html>"
    assert decode_html(page.encode(encoding), declared) == page


def test_two_bytes_of_gbk_are_not_taken_for_utf8() -> None:
    assert decode_html("<p>联通</p>".encode("gbk"), "gbk") == "<p>联通</p>"
    assert decode_html("<p>café</p>".encode(), "utf-8") == "<p>café</p>"
    assert decode_html("<p>café</p>".encode("latin-1"), "iso-8859-1") == "<p>café</p>"


def test_a_page_cut_within_a_character_is_kept() -> None:
    data = f'<meta charset="utf-8"><p>{SAID}'.encode()[:-1]
    assert decode_html(data).endswith("苦\ufffd")
    with pytest.raises(RejectedRecordError, match="bad_encoding"):
        decode_html(bytes(range(128, 256)) * 20)


def test_blocks_are_lines_and_cells_are_separated() -> None:
    html = """<html><head><title>T</title><style>p{}</style></head><body><h1>题目</h1><p>一段，有<b>粗体</b>和
      换行，and some
      English <ruby>漢<rp>(</rp><rt>hàn</rt><rp>)</rp></ruby>字 &amp; &#33590;。<br/>新行</p>
    <table><tr><th>茶</th><th>水温</th></tr><tr><td>绿茶</td><td></td><td>80</td></tr></table>
    <pre>def f():\n    return 1</pre><script>if (a<b) {"</p>"}</script><noscript>无</noscript>尾</body></html>"""
    assert page_text(html).split("\n") == [
        "题目",
        "一段，有粗体和换行，and some English 漢字 & 茶。",
        "新行",
        "茶\t水温",
        "绿茶\t\t80",
        "def f():",
        "    return 1",
        "尾",
    ]


def test_tags_that_are_never_closed_hide_nothing_beyond_the_body() -> None:
    assert page_text("<p>甲<noscript><p>无</noscript>乙<svg><g>丙</svg>丁") == "甲\n乙丁"
    assert page_text("<body>甲<svg>乙</body><p>丙") == "甲\n丙"


@given(st.text("<>/ab&;甲\n\t\0 =\"'!-", max_size=60))
def test_any_text_is_a_page(html: str) -> None:
    assert "\0" not in page_text(html)


def test_a_file_is_a_row() -> None:
    (row,) = read_html(pieces(b"<p>x</p>", 3), "a.html")
    assert row.value == {"html": "<p>x</p>", "name": "a.html"}
    (row,) = read_html(pieces(b"<p>x</p>", 3), "a.html", max_record_bytes=5)
    assert row.error.reason == "too_long"
