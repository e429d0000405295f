"""The work folder: a stage is a list of tasks, each leaving files and, last, a marker with its counts."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron.corpus.dedup.plan import Plan

PARTIAL = ".partial"


@dataclass(frozen=True)
class Partitions:
    """How finely the stages cut their work, so that a task fits its share of the memory. No result depends on it."""

    exact: int
    bands: int
    documents_per_range: int


@dataclass(frozen=True)
class Job:
    """What every task is given.

    Args:
        folder: the work folder.
        firsts: number of the first document of each part, then the count of all documents; known after signing.
    """

    folder: str
    plan: Plan
    firsts: tuple[int, ...] = ()
    partitions: Partitions = Partitions(1, 1, 1)

    @property
    def documents(self) -> int:
        return self.firsts[-1]

    def path(self, stage: str, number: int, suffix: str) -> Path:
        return Path(self.folder) / stage / f"{number:06d}{suffix}"

    def file(self, name: str) -> Path:
        return Path(self.folder) / name

    def marker(self, stage: str, number: int) -> Path:
        return self.path(stage, number, ".json")

    def done(self, stage: str, number: int) -> dict[str, Any] | None:
        """The counts of a finished task."""
        try:
            return dict(json.loads(self.marker(stage, number).read_bytes()))
        except FileNotFoundError:
            return None

    def begin(self, stage: str, number: int, *suffixes: str) -> list[Path]:
        """Paths to write a task's files to: of this attempt alone, as one of a killed run may still be going on."""
        token = f".{secrets.token_hex(4)}{PARTIAL}"
        return [self.path(stage, number, suffix + token) for suffix in suffixes]

    def finish(self, stage: str, number: int, counts: dict[str, Any], files: Iterable[Path] = ()) -> None:
        """Brings the files of :meth:`begin` to the disk, gives them their names, and marks the task as done."""
        for file in files:
            sync(file)
            os.replace(file, file.with_name(file.name.removesuffix(PARTIAL).rpartition(".")[0]))
        write_json(self.marker(stage, number), counts)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Whole or not at all."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(content, file, ensure_ascii=False, indent=indent)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def sync(path: Path) -> None:
    """Brings a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
