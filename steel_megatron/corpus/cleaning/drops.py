"""Drops, beside an output: every dropped record, with the operation and the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.corpus.readers.json_lines import split_lines
from steel_megatron.corpus.readers.row import MAX_RECORD_BYTES
from steel_megatron.jobs.durable import beside
from steel_megatron.jobs.never_data import DROPS, DROPS_FOLDER
from steel_megatron.jobs.unpack import read_content


def drop_of(said: dict[str, Any]) -> dict[str, Any]:
    """A drop in today's form; version 0.1.0 had its content under ``text``."""
    return {"content" if name == "text" else name: value for name, value in said.items()}


def read_drops(output: Path, operation: str | None = None) -> Iterator[dict[str, Any]]:
    """The drops of an output (or of a drops file that is named), in the order of the input.

    Args:
        operation: only those of this one; ``read`` and ``write`` are the stages before and behind all.

    Raises:
        DataError: no such file.
    """
    path = drops_of(output)
    if not path.exists():
        raise DataError(
            f"no drops at {path}",
            rule="steel clean writes them beside its output",
            fix="name an output of it",
        )
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        for line, _ in split_lines(read_content(file), MAX_RECORD_BYTES):
            if line:
                drop = drop_of(json.loads(line))
                if operation is None or drop["operation"] == operation:
                    yield drop


def drops_of(output: Path) -> Path:
    """Where the drops of an output lie: a file, or a folder of shards."""
    if output.name.endswith((DROPS, DROPS_FOLDER)):
        return output
    return beside(output, DROPS_FOLDER if output.is_dir() else DROPS)
