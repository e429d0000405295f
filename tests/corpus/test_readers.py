from __future__ import annotations

from pathlib import Path

import pytest

from helpers.corpus_files import write_parquet
from steel_megatron.config import DataError
from steel_megatron.corpus.corpus import Kind
from steel_megatron.corpus.readers import recognise
from steel_megatron.corpus.readers.parquet import read_parquet
from steel_megatron.corpus.readers.plain_text import read_text


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'{"text": "x"}\n', Kind.JSON_LINES),
        (b'\xef\xbb\xbf\n {"text": "x"}', Kind.JSON_LINES),
        (b'broken line\n{"text": "x"}\n', Kind.JSON_LINES),
        (b'[{"a": 1}]', Kind.JSON_ARRAY),
        (b"\xef\xbb\xbf\n[\n  {", Kind.JSON_ARRAY),
        (b"[]", Kind.JSON_ARRAY),
        (b"[a link](there) and text", Kind.TEXT),
        ("标题\n正文 {不是} JSON".encode(), Kind.TEXT),
        (b"PAR1\x15\x04", Kind.PARQUET),
        (b"\x7fELF\0\0", None),
        ("文".encode("utf-16"), Kind.TEXT),
        ("ab".encode("utf-16"), Kind.TEXT),
        (b'{\n  "a": 1\n}\n', Kind.JSON_OBJECTS),
        (b"%PDF-1.7\n", Kind.PDF),
        (b"a,b\n1,2\n3,4\n", Kind.TEXT),
    ],
)
def test_recognise(head: bytes, kind: Kind | None) -> None:
    assert recognise(head) is kind


def test_parquet_by_row_groups(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"n": ("int64", list(range(700)))}, row_group_size=300)
    rows = list(read_parquet(path, [1, 2], first_row=301))
    assert [(row.number, row.line, row.value["n"]) for row in rows] == [(i + 1, None, i) for i in range(300, 700)]


def test_parquet_types_may_differ_between_files(tmp_path: Path) -> None:
    values = [0, None, 3]
    for kind in ("int64", "float64"):
        path = write_parquet(
            tmp_path / f"{kind}.parquet", {"stars": (kind, values), "text": ("string", ["a", "b", None])}
        )
        assert [row.value for row in read_parquet(path, [0])] == [
            {"stars": stars, "text": text} for stars, text in zip(values, ["a", "b", None], strict=True)
        ]


def test_parquet_strings_that_are_not_utf8_cost_their_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    data = [b"fine", b"\xff\xfe", "好".encode()]
    column = pa.StringArray.from_buffers(3, *pa.array(data, pa.binary()).buffers()[1:])
    pq.write_table(pa.table({"text": column}), tmp_path / "bad.parquet")
    rows = list(read_parquet(tmp_path / "bad.parquet", [0]))
    assert [row.value and row.value["text"] for row in rows] == ["fine", None, "好"]
    assert rows[1].error is not None
    assert rows[1].error.reason == "bad_utf8"


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"text": ("string", ["x" * 1000] * 100)})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet"):
        list(read_parquet(path, [0]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"a\0b", "binary"), ("汉字".encode() * 5 + b"\xff", "bad_encoding"), (b"x" * 2000, "too_long")],
)
def test_a_file_that_is_no_text(data: bytes, reason: str) -> None:
    [row] = read_text([data[:1], data[1:]], "name.txt", max_record_bytes=1000)
    assert row.error is not None
    assert row.error.reason == reason
    assert row.head


def test_a_character_across_two_reads() -> None:
    data = "汉字".encode()
    [row] = read_text([data[:4], data[4:]], "name.txt")
    assert row.value == {"text": "汉字", "name": "name.txt"}
