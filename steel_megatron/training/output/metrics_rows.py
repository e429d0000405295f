"""Rows of a metrics.jsonl, read and cut; without torch, for who only looks at a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from steel_megatron.jobs.durable import write_text


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file, in order; what a kill or a power cut left of a line is passed over."""
    rows = []
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:  # cut off, or bytes of another file
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def truncate_metrics(path: Path, step: int) -> None:
    """Keeps the lines of steps up to ``step``; atomic."""
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
