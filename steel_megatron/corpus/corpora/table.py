"""Any table: csv (also tabs, semicolons, bars) or xlsx, a row per document."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, Kind
from steel_megatron.corpus.table_text import COLUMNS, TABLE_REASONS, row_text

CORPUS = Corpus(
    name="table",
    about="any csv or xlsx table, one document per row",
    fields={"--columns": "the columns that make the text; all where not given"},
    template="column: cell, on a line each; of a single column, the cell alone",
    example={"标题": "石板街", "正文": "位于老城区中部。", "编号": ""},
    kinds=(Kind.CSV, Kind.WORKBOOK),
    text=row_text,
    options=(COLUMNS,),
    reasons=TABLE_REASONS,
)
