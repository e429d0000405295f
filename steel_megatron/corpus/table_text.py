"""The text of a row of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from steel_megatron.corpus.corpus import Option, Options, RejectedRecordError

COLUMNS = Option("columns", "", "Columns that make the text, in this order, separated by commas; none: all.")
TABLE_REASONS = {"no_cells": "none of the columns that make the text has anything in this row"}


def row_text(row: Mapping[str, str], options: Options, leave_out: Callable[[str], bool] = lambda column: False) -> str:
    """``column: cell`` on a line each, empty cells left out; of a single column, the cell alone.

    Args:
        leave_out: whether a column is not taken unless it is named.

    Raises:
        RejectedRecordError: a column that is not there, or nothing in any.
    """
    named = [name.strip() for name in options["columns"].split(",") if name.strip()]
    missing = [name for name in named if name not in row]
    if missing:
        raise RejectedRecordError("missing_field", f"no column {missing[0]!r} among {', '.join(map(repr, row))}")
    columns = named or [column for column in row if not leave_out(column)]
    cells = {column: row[column].strip() for column in columns if row[column].strip()}
    if not cells:
        raise RejectedRecordError("no_cells")
    if len(columns) == 1:
        return next(iter(cells.values()))
    return "\n".join(
        f"{column}{':' if column.isascii() else '：'}{' ' * column.isascii()}{cell}" for column, cell in cells.items()
    )
