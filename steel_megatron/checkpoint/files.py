"""A checkpoint folder's files: written for good, hashed, and checked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import xxhash

MARKER = "complete.json"  # written last: what the folder holds, with sizes and hashes
FACTS = "facts.json"
BLOCK = 8 << 20  # bytes hashed at once


def hash_file(path: Path) -> str:
    """xxh3-128 of a file's bytes: fast, and enough against damage (not against forgery)."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def record_of(path: Path) -> dict[str, Any]:
    """Size and hash of a file."""
    return {"bytes": path.stat().st_size, "xxh3": hash_file(path)}


def problem_with(path: Path, record: dict[str, Any]) -> str:
    """How a file differs from its record; empty if it does not."""
    if not path.is_file():
        return f"{path.name} is missing"
    size = path.stat().st_size
    if size != record["bytes"]:
        return f"{path.name} has {size} bytes, expected {record['bytes']}"
    found = hash_file(path)
    return "" if found == record["xxh3"] else f"{path.name} is damaged: hash {found}, expected {record['xxh3']}"


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file and waits until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: Any) -> None:
    """JSON that a person can read, on the disk when this returns."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
