"""Workbooks: sheet by sheet, with the cells as people read them."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.readers.workbook import read_workbook


def workbook(rows: list[list[object]], more: list[list[object]]) -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for row in more:
        book.create_sheet("more") if len(book.worksheets) < 2 else None
        book.worksheets[1].append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_workbooks_sheet_by_sheet() -> None:
    day = datetime.datetime(2024, 3, 1)
    data = workbook([[], ["题", "分", "日"], ["一", 3.0, day], [None, None], ["二", 2.5, None, "多"]], [["甲"], ["乙"]])
    rows = list(read_workbook(io.BytesIO(data), "x.xlsx"))
    assert [(row.number, row.line, row.value) for row in rows] == [
        (1, 3, {"题": "一", "分": "3", "日": "2024-03-01"}),
        (2, 5, None),
        (3, 2, {"甲": "乙"}),
    ]
    assert rows[1].error is not None
    assert rows[1].error.reason == "bad_row"
    [row] = read_workbook(io.BytesIO(data[:300]), "x.xlsx")
    assert row.error is not None
    assert row.error.reason == "bad_workbook"


def test_a_table_converts(tmp_path: Path) -> None:
    data = workbook([["标题", "正文", "id"], ["一", "内容", 1], ["", " ", 2], ["三", "", 3]], [])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "named.csv").write_bytes(data)
    (tmp_path / "in" / "plain.txt").write_bytes("标题,正文\n四,文字\n".encode("gb18030"))
    options = {"columns": "标题, 正文"}
    done = convert_corpus("table", [tmp_path / "in"], tmp_path / "out.jsonl", options=options)
    assert [line["text"] for line in read_json_lines(done.output)] == [
        "标题：一\n正文：内容",
        "标题：三",
        "标题：四\n正文：文字",
    ]
    assert [line["id"] for line in read_json_lines(done.output)] == ["named.csv:1", "named.csv:3", "plain.txt:1"]
    assert done.manifest.rejects == {"no_cells": 1}
