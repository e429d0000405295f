"""The rows of a parquet file, by row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from steel_megatron.config import DataError
from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.row import Row
from steel_megatron.jobs.needed import needed

BATCH_ROWS = 128


def read_parquet(
    file: Path | IO[bytes], groups: Sequence[int] | None = None, first_row: int = 1, name: str = ""
) -> Iterator[Row]:
    """The rows of the row groups ``groups``, or of all; ``first_row`` is the number of the first.

    Types may differ from file to file (a count as integer or double, with nulls): values come as Python's.

    Raises:
        DataError: the file is damaged.
    """
    number = first_row
    with open_parquet(file, name) as parquet:
        wanted = range(parquet.metadata.num_row_groups) if groups is None else groups
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=list(wanted)):
            for value in values_of(batch):
                if isinstance(value, RejectedRecordError):
                    yield Row(number, None, error=value)
                else:
                    yield Row(number, None, value)
                number += 1


@contextmanager
def open_parquet(file: Path | IO[bytes], name: str = "") -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile``; what pyarrow raises of a damaged file becomes a :class:`DataError`.

    Args:
        file: a path, or a file that can be read at any place, which errors call ``name``.
    """
    path = name or str(file)
    pyarrow, files = needed("pyarrow", path), needed("pyarrow.parquet", path)
    try:
        with files.ParquetFile(file) as parquet:
            yield parquet
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"cannot read {path}: {error}", rule="a parquet file is whole", fix="copy or download it again"
        ) from None


def values_of(batch: Any) -> list[Any]:
    """The rows as dictionaries; a row with a string that is not UTF-8 as the reason to reject it."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        return [_value(batch.slice(i, 1)) for i in range(batch.num_rows)]


def _value(row: Any) -> Any:
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return RejectedRecordError("bad_utf8", f"{error.reason} at byte {error.start:,} of a field")
