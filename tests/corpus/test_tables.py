from __future__ import annotations

import datetime
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.corpus_files import pieces, read_json_lines
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.corpus import Kind
from steel_megatron.corpus.readers.csv_rows import read_csv
from steel_megatron.corpus.readers.recognise import is_table, recognise, settle
from steel_megatron.corpus.readers.workbook import read_workbook

CELLS = st.text(st.sampled_from('a,"\n\t; 中，'), max_size=6)


def rows_of(data: bytes, size: int = 7) -> tuple[list[dict[str, str]], list[tuple[int, str]]]:
    rows = list(read_csv(pieces(data, size)))
    return [row.value for row in rows if row.error is None], [
        (row.line or 0, row.error.reason) for row in rows if row.error
    ]


@given(st.lists(st.tuples(CELLS, CELLS).filter(lambda cells: any(cell.strip() for cell in cells)), max_size=5))
def test_cells_are_those_that_were_written(table: list[tuple[str, str]]) -> None:
    lines = ['"' + '","'.join(cell.replace('"', '""') for cell in cells) + '"' for cells in [("题", "文"), *table]]
    values, errors = rows_of("\n".join(lines).encode())
    assert errors == []
    assert values == [{"题": first, "文": second} for first, second in table]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "big5"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_encoding_and_delimiter_are_told(encoding: str, delimiter: str) -> None:
    text = f"編號{delimiter}內容\n1{delimiter}我們今天在學校裡學習中文，大家都很高興。\n2{delimiter}第二個問題的答案\n"
    values, errors = rows_of(text.encode(encoding))
    assert errors == []
    assert [row["內容"] for row in values] == ["我們今天在學校裡學習中文，大家都很高興。", "第二個問題的答案"]


def test_a_bad_row_costs_itself() -> None:
    bad = b'a,b\n1,one\n2,"two\n3,three\n4,four,more\n5,"fi"ve"\n6,\xff\xfe\n7,seven\n8\n\n9,"ni\nne"\n'
    values, errors = rows_of(bad + "10,十个汉字在这里写着呢\n".encode() * 40)
    assert [(row["a"], row["b"]) for row in values[:5]] == [
        ("1", "one"),
        ("3", "three"),
        ("7", "seven"),
        ("8", ""),
        ("9", "ni\nne"),
    ]
    assert errors == [(3, "bad_row"), (5, "bad_row"), (6, "bad_row"), (7, "bad_encoding")]


def test_columns_of_one_name_are_told_apart() -> None:
    values, _ = rows_of(b"q,q,\n1,2,3\n")
    assert values == [{"q": "1", "q (2)": "2", "column 3": "3"}]


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("题,答\n一,二\n三,四\n", "x", Kind.CSV),
        ("题\t答\n一\t二\n三\t四\n", "x.txt", Kind.CSV),
        ("建议\n多放一些方言\n", "x.csv", Kind.CSV),
        ("建议\n多放一些方言\n", "x.txt", Kind.TEXT),
        ("Dear all,\nthis is prose, with commas, here.\nAnd no more.\nYours,\nme\n", "x.txt", Kind.TEXT),
        ('{"not": "a record here"}\n', "x.txt", Kind.TEXT),
    ],
)
def test_a_table_is_told_from_prose(text: str, name: str, kind: Kind) -> None:
    head = text.encode()
    assert settle(recognise(head), head, name, (Kind.TEXT, Kind.CSV)) is kind
    assert settle(recognise(b'{"a": 1}\n'), b'{"a": 1}\n', "x.csv", (Kind.CSV,)) is None
    assert is_table(text.encode("gb18030"), name) is (kind is Kind.CSV)


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
