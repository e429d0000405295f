"""Parquet: row groups, types that differ, and damage told by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.corpus_files import write_parquet
from steel_megatron.config import DataError
from steel_megatron.corpus.readers.parquet import read_parquet


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
