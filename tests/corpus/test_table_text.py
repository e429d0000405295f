"""A table's row as text: which columns, in which order, and rows that say nothing."""

from __future__ import annotations

import pytest

from steel_megatron.corpus import RejectedRecordError
from steel_megatron.corpus.table_text import row_text

ROW = {"题": " 一 ", "name": "x", "empty": " ", "答": "二\n三"}


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ("", "题：一\nname: x\n答：二\n三"),
        ("答, 题", "答：二\n三\n题：一"),
        ("题", "一"),
        ("题,empty", "题：一"),  # two columns were asked for: the name stays
        (" , ", "题：一\nname: x\n答：二\n三"),
    ],
)
def test_columns(columns: str, text: str) -> None:
    assert row_text(ROW, {"columns": columns}) == text


def test_a_column_left_out_is_there_when_named() -> None:
    assert row_text(ROW, {"columns": ""}, lambda column: column != "name") == "x"
    assert row_text(ROW, {"columns": "题"}, lambda column: True) == "一"


@pytest.mark.parametrize(("columns", "reason"), [("gone", "missing_field"), ("empty", "no_cells")])
def test_refused(columns: str, reason: str) -> None:
    with pytest.raises(RejectedRecordError) as error:
        row_text(ROW, {"columns": columns})
    assert error.value.reason == reason
