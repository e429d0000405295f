"""The rows of an xlsx workbook, sheet by sheet."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import IO, Any

from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.csv_rows import table_row, unique_names
from steel_megatron.corpus.readers.row import Row
from steel_megatron.jobs.needed import needed


def read_workbook(file: IO[bytes], name: str) -> Iterator[Row]:
    """A row per row of each sheet as header → cell; the first row that is not empty is the sheet's header.

    Rows are numbered through all sheets; ``line`` is the number in the sheet. Formulas give the values they had when
    the file was saved. A file that cannot be read costs itself, as one record, from where it is damaged.
    """
    openpyxl = needed("openpyxl", name)
    number = 0
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        for sheet in book.worksheets:
            columns: list[str] | None = None
            for line, values in enumerate(sheet.iter_rows(values_only=True), start=1):
                cells = [_text(value) for value in values]
                if not any(cells):
                    continue
                if columns is None:
                    columns = unique_names(_without_empty_end(cells))
                    continue
                number += 1
                try:
                    yield Row(number, line, table_row(columns, cells))
                except RejectedRecordError as error:
                    yield Row(number, line, error=error, head=repr(cells).encode("utf-8", "backslashreplace"))
    except Exception as error:  # openpyxl raises what its XML and zip readers raise
        reason = RejectedRecordError("bad_workbook", f"{type(error).__name__}: {error}")
        yield Row(number + 1, None, error=reason, head=name.encode("utf-8", "backslashreplace"))


def _without_empty_end(cells: list[str]) -> list[str]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def _text(value: Any) -> str:
    """A cell as it is read: 3.0 is 3, a date has no time of day unless it has one."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value).strip()
