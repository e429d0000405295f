"""Rows of a metrics.jsonl, read and cut; without torch, for who only looks at a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    os.replace(temporary, path)
