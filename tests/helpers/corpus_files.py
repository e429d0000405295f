"""Small files of corpora, as they are published and as they go wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_json_lines(path: Path, records: Sequence[Any]) -> Path:
    """A record per line; bytes are written as they are."""
    lines = [
        record if isinstance(record, bytes) else json.dumps(record, ensure_ascii=False).encode() for record in records
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def write_parquet(path: Path, columns: Mapping[str, tuple[str, Sequence[Any]]], row_group_size: int = 1000) -> Path:
    """Columns as name → (arrow type, values)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: pa.array(values, getattr(pa, kind)()) for name, (kind, values) in columns.items()}
    pq.write_table(pa.table(arrays), path, row_group_size=row_group_size)
    return path


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a plain file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """The data in chunks of ``size`` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
