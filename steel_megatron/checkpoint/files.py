"""A checkpoint folder's files: written for good, hashed, and checked."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from steel_megatron.jobs.hashes import xxh3_of

MARKER = "complete.json"  # written last: what the folder holds, with sizes and hashes
FACTS = "facts.json"
THREADS = 4  # files read at once: one reader does not fill a fast disk

Records = dict[str, dict[str, Any]]  # file name → {"bytes": size, "xxh3": hash}


def record_of(path: Path) -> dict[str, Any]:
    """Size and hash of a file."""
    return {"bytes": path.stat().st_size, "xxh3": xxh3_of(path)}


def problem_with(path: Path, record: dict[str, Any]) -> str:
    """How a file differs from its record; empty if it does not."""
    try:
        size = path.stat().st_size
        if size != record["bytes"]:
            return f"{path.name} has {size} bytes, expected {record['bytes']}"
        found = xxh3_of(path)
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read: {error}"
    return "" if found == record["xxh3"] else f"{path.name} is damaged: hash {found}, expected {record['xxh3']}"


def problems_with(folder: Path, records: Records, names: list[str]) -> list[str]:
    """What is wrong with some of a folder's files."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda name: problem_with(folder / name, records[name]), names)
        return [problem for problem in found if problem]


def read_marker(folder: Path, needed: tuple[str, ...]) -> Records:
    """The records of a folder's files.

    Args:
        needed: files without which it is no checkpoint.

    Raises:
        ValueError: the marker is missing, unreadable, or does not say what it should.
    """
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{MARKER} is missing") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{MARKER} cannot be read: {error}") from error
    records = content.get("files") if isinstance(content, dict) else None
    if not isinstance(records, dict):
        raise ValueError(f"{MARKER} is damaged: it lists no files")
    for name, record in records.items():
        if not isinstance(record, dict) or not {"bytes", "xxh3"} <= record.keys():
            raise ValueError(f"{MARKER} is damaged: it has no size and hash of {name}")
    absent = [name for name in needed if name not in records]
    if absent:
        raise ValueError(f"{MARKER} is damaged: it does not list {absent[0]}")
    return records


def step_named_in(folder: Path) -> int | None:
    """The step that a checkpoint's facts tell; None if they cannot be read or tell none."""
    try:
        step = json.loads((folder / FACTS).read_text(encoding="utf-8"))["state"]["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file and waits until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
