"""Tables in text: every cell as it was written, and a bad row costs itself alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.corpus_files import pieces
from steel_megatron.corpus.readers.csv_rows import read_csv

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
