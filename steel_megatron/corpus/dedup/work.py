"""The work folder: a stage is a list of tasks, each leaving files and, last, a mark with its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron.corpus.dedup.plan import Plan
from steel_megatron.jobs.engine import Engine
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

    def counts(self, stage: str, number: int) -> dict[str, Any]:
        """The counts of a finished task."""
        counts = self.task(stage, number).marked()
        assert counts is not None, f"{stage} {number} has not run"
        return counts


@dataclass(frozen=True)
class Stages:
    """Runs the tasks of a stage, as many at once as the memory holds.

    Args:
        memory: bytes that all workers of a machine may take.
    """

    engine: Engine
    memory: int

    def run(
        self,
        stage: str,
        function: Callable[[Job, Any], dict[str, Any]],
        job: Job,
        tasks: Sequence[Any],
        *,
        most: int,
        task_bytes: int = 0,
        on_done: Callable[[Any], Any] = lambda task: None,
    ) -> list[dict[str, Any]]:
        """Runs ``function(job, task)`` for the tasks that are not done; the counts of all, in order.

        Args:
            function: at module level; returns the task's counts after its mark is written.
            tasks: parts, or numbers.
            most: workers that are worth starting for this much work.
            task_bytes: memory that one task takes at most; fewer run at once where all would not fit.
            on_done: called with each task in order, when it is done.
        """
        job.file(stage).mkdir(exist_ok=True)

        def done(task: Any) -> dict[str, Any] | None:
            return job.task(stage, getattr(task, "number", task)).done()

        at_once = min(most, max(1, self.memory // max(task_bytes, 1)))
        return self.engine.run(stage, function, job, tasks, done, at_once, on_done)
