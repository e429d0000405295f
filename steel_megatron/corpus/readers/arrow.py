"""The rows of an arrow stream, as Hugging Face's ``datasets`` saves its tables, or of an arrow file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.parquet import BATCH_ROWS, values_of
from steel_megatron.corpus.readers.row import Row
from steel_megatron.jobs.files import ContentStream, spooled, with_head
from steel_megatron.jobs.needed import needed

_FILE = b"ARROW1"


def read_arrow(content: Iterable[bytes], name: str) -> Iterator[Row]:
    """A row per row of the table.

    Raises:
        DataError: the file is damaged, or cut.
    """
    pyarrow, ipc = needed("pyarrow", name), needed("pyarrow.ipc", name)
    head, whole = with_head(iter(content), len(_FILE))
    number = 0
    try:
        if head.startswith(_FILE):
            file = ipc.open_file(spooled(whole()))
            batches: Iterable[Any] = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            batches = ipc.open_stream(io.BufferedReader(ContentStream(whole())))
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                for value in values_of(batch.slice(start, BATCH_ROWS)):
                    number += 1
                    error = value if isinstance(value, RejectedRecordError) else None
                    yield Row(number, None, None if error else value, error)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"cannot read {name} behind row {number:,}: {error}",
            rule="an arrow table is whole",
            fix="copy or download it again",
        ) from None
