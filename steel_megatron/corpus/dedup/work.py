"""The work folder: a stage is a list of tasks, each leaving files and, last, a marker with its counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron.corpus.dedup.plan import Plan
from steel_megatron.jobs.durable import PARTIAL
from steel_megatron.jobs.tasks import Task


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

    def task(self, stage: str, number: int, *suffixes: str) -> Task:
        """The files of a task; some go when no later stage reads them."""
        return Task(self.path(stage, number, ""), suffixes, mark=".json", files_go=True)

    def done(self, stage: str, number: int) -> dict[str, Any] | None:
        """The counts of a finished task."""
        return self.task(stage, number).marked()

    def begin(self, stage: str, number: int, *suffixes: str) -> list[Path]:
        """Paths to write a task's files to."""
        return self.task(stage, number, *suffixes).begin()

    def finish(self, stage: str, number: int, counts: dict[str, Any], files: Sequence[Path] = ()) -> dict[str, Any]:
        """Gives the files of :meth:`begin` their names, and marks the task as done; returns its counts."""
        suffixes = [file.name.removesuffix(PARTIAL).rpartition(".")[0].removeprefix(f"{number:06d}") for file in files]
        self.task(stage, number, *suffixes).finish(list(files), counts)
        return counts
