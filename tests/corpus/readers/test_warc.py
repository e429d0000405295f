"""Crawls: what is a page and what is not, packings, charsets, and files that end too early."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from helpers.corpus_files import pieces, read_json_lines
from helpers.document_files import members_of, warc_answer, warc_record
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.readers.warc import read_warc

PAGE = "<html><body><p>绿茶要用八十度的水来泡。</p></body></html>"


def rows_of(data: bytes, **limits: int) -> list[Any]:
    rows = list(read_warc(pieces(data, 100), "a.warc", **limits))
    return [row.error.reason if row.error else row.value.get("html", row.value.get("text")) for row in rows]


def response(body: bytes = PAGE.encode(), status: str = "200 OK", **headers: str) -> bytes:
    return warc_record("response", warc_answer(body, status, **headers), Content_Type="application/http")


def test_a_crawl_is_its_pages() -> None:
    crawl = [
        warc_record("warcinfo", b"software: x"),
        warc_record("request", b"GET / HTTP/1.1\r\n\r\n"),
        response(),
        warc_record("metadata", b"fetchTimeMs: 1"),
        warc_record("response", b"20240101\nexample.com. 1.2.3.4", Content_Type="text/dns"),
        response(b"\x89PNG", Content_Type="image/png"),
        response(b"", "301 Moved"),
        response(b"x", "404 Not Found"),
        warc_record("revisit", b"HTTP/1.1 200 OK\r\n\r\n"),
        warc_record("response", b"no http at all"),
        response("第一行\n".encode(), Content_Type="text/plain; charset=UTF-8"),
        warc_record("resource", PAGE.encode(), Content_Type="text/html"),
    ]
    kept = [PAGE, "not_html", "http_status", "http_status", "revisit", "bad_http", "第一行\n", PAGE]
    assert rows_of(b"".join(crawl)) == kept


def test_what_a_page_says_of_itself_comes_along() -> None:
    fields = {"WARC_Date": "2024-02-20T08:00:00Z", "WARC_Identified_Content_Language": "zho,eng"}
    (row,) = read_warc(iter([warc_record("conversion", "绿茶".encode(), **fields)]), "a.wet")
    assert row.value == {
        "id": "<urn:uuid:1>",
        "url": "https://example.com/a",
        "date": "2024-02-20T08:00:00Z",
        "language": "zho,eng",
        "text": "绿茶",
    }


@pytest.mark.parametrize("header", ["text/html; charset=gb2312", "text/html", "text/html; charset=utf-8"])
def test_pages_of_chinese_servers(header: str) -> None:
    page = f'<html><head><meta charset="gb2312"></head><body>{"朱镕基说，茶好。" * 5}</body></html>'
    assert rows_of(response(page.encode("gbk"), Content_Type=header)) == [page]


def chunked(body: bytes, size: int = 7) -> bytes:
    parts = [b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in pieces(body, size)]
    return b"".join(parts) + b"0\r\n\r\n"


DEFLATE = zlib.compressobj(wbits=-15)
RAW_DEFLATE = DEFLATE.compress(PAGE.encode()) + DEFLATE.flush()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(PAGE.encode(), mtime=0), {"Content_Encoding": "gzip"}),
        (PAGE.encode(), {"Content_Encoding": "gzip"}),  # unpacked by the crawler, the header left
        (PAGE.encode(), {"Content_Encoding": "br"}),
        (PAGE.encode(), {"Content_Encoding": "deflate"}),
        (zlib.compress(PAGE.encode()), {"Content_Encoding": "deflate"}),
        (RAW_DEFLATE, {"Content_Encoding": "deflate"}),
        (zstandard.ZstdCompressor().compress(PAGE.encode()), {"Content_Encoding": "zstd"}),
        (chunked(PAGE.encode()), {"Transfer_Encoding": "chunked"}),
        (PAGE.encode(), {"Transfer_Encoding": "chunked"}),
        (chunked(gzip.compress(PAGE.encode(), mtime=0)), {"Transfer_Encoding": "chunked", "Content_Encoding": "gzip"}),
        (PAGE.encode(), {"Content_Type": ""}),
    ],
    ids=[
        "gzip",
        "gzip, unpacked",
        "brotli, unpacked",
        "deflate, unpacked",
        "deflate",
        "raw deflate",
        "zstd",
        "chunked",
        "chunks put together",
        "gzip in chunks",
        "no type",
    ],
)
def test_bodies_as_servers_and_crawlers_leave_them(body: bytes, headers: dict[str, str]) -> None:
    assert rows_of(response(body, **headers)) == [PAGE]


def test_bodies_that_cannot_be_unpacked() -> None:
    assert rows_of(response(b"\x1b\x00\x00", Content_Encoding="br")) == ["bad_http"]
    assert rows_of(response(b"\x1f\x8bxxxx", Content_Encoding="gzip")) == ["bad_http"]
    bomb = gzip.compress(b"0" * 100_000)
    assert rows_of(response(bomb, Content_Encoding="gzip"), max_record_bytes=10_000) == ["too_long"]
    cut = gzip.compress(PAGE.encode() * 50)[:-20]
    assert rows_of(response(cut, Content_Encoding="gzip"))[0].startswith(PAGE)


def test_a_damaged_record_costs_itself() -> None:
    broken = response().replace(b"Content-Length", b"Content-Laenge", 1)
    assert rows_of(response() + broken + response()) == [PAGE, "bad_warc", PAGE]
    assert rows_of(response() + b"garbage\r\nmore\r\n\r\n" + response()) == [PAGE, "bad_warc", PAGE]
    assert rows_of(response() + response(PAGE.encode() * 30) + response(), max_record_bytes=1000) == [
        PAGE,
        "too_long",
        PAGE,
    ]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("left", [1, 20, 150])
def test_a_file_that_is_cut_keeps_what_came_before(packed: bool, left: int, tmp_path: Path) -> None:
    records = [response(), response(), response()]
    data = members_of(records) if packed else b"".join(records)
    path = tmp_path / ("a.warc.gz" if packed else "a.warc")
    path.write_bytes(data[:-left] if packed or left > 4 else data[: -left - 4])
    done = convert_corpus("warc", [path], tmp_path / "out.jsonl", options={"extractor": "all"})
    assert done.manifest.rejects == {"bad_warc": 1}
    assert done.manifest.documents >= 2
    assert {document["text"] for document in read_json_lines(tmp_path / "out.jsonl")} == {"绿茶要用八十度的水来泡。"}


def test_wet_files_by_their_languages(tmp_path: Path) -> None:
    languages = ["zho", "eng,zho", "zho,eng", ""]
    records = [
        warc_record("conversion", f"第{i}页".encode(), **({"WARC_Identified_Content_Language": each} if each else {}))
        for i, each in enumerate(languages)
    ]
    (tmp_path / "CC-MAIN-1.warc.wet.gz").write_bytes(members_of([warc_record("warcinfo", b"x"), *records]))
    (tmp_path / "CC-MAIN-1.warc.wat.gz").write_bytes(members_of([warc_record("metadata", b"{}")]))
    convert_corpus("warc", [tmp_path], tmp_path / "out.jsonl", options={"language": "zho", "extractor": "all"})
    assert [document["text"] for document in read_json_lines(tmp_path / "out.jsonl")] == ["第0页", "第2页", "第3页"]


def test_a_file_without_a_page_is_nothing() -> None:
    assert rows_of(b"") == []
    assert rows_of(warc_record("warcinfo", b"x")) == []
