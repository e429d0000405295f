"""The work folder: a stage is a list of tasks, each leaving files and, last, a mark with its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron.corpus.dedup.plan import Plan
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.parts import Part
from steel_megatron.jobs.tasks import Task

SIGNED = "signatures"  # the stage that reads the texts
GROUPS = "groups.u32"


@dataclass(frozen=True)
class Partitions:
    """How finely the stages cut their work, so that a task fits its share of the memory. No result depends on it."""

    exact: int
    bands: int
    documents_per_range: int


@dataclass(frozen=True)
class Signed:
    """The documents of one part of an earlier run.

    Args:
        stem: of the files that signing left of it.
    """

    stem: str
    source: str
    documents: int


@dataclass(frozen=True)
class Job:
    """What every task is given.

    Args:
        folder: the work folder.
        firsts: number of the first document of each earlier part and of each part, then the count of all documents;
            known after signing.
        earlier: parts of earlier runs, whose documents come before those of this one, and whose fates stand.
        stays: files that say which document stays for each of the earlier ones.
    """

    folder: str
    plan: Plan
    firsts: tuple[int, ...] = ()
    partitions: Partitions = Partitions(1, 1, 1)
    earlier: tuple[Signed, ...] = ()
    stays: tuple[str, ...] = ()

    @property
    def documents(self) -> int:
        return self.firsts[-1]

    @property
    def own_first(self) -> int:
        """The number of the first document that is not of an earlier run."""
        return self.firsts[len(self.earlier)]

    @property
    def signed(self) -> range:
        """Numbers of all stretches of documents: the earlier ones, then the parts."""
        return range(len(self.firsts) - 1)

    def first_of(self, part: Part) -> int:
        return self.firsts[len(self.earlier) + part.number]

    def source_of(self, at: int) -> str:
        """The source of a stretch of documents."""
        count = len(self.earlier)
        return self.earlier[at].source if at < count else self.plan.parts[at - count].file.source

    def signed_path(self, at: int, suffix: str) -> Path:
        """A file that signing left of a stretch of documents."""
        count = len(self.earlier)
        return Path(self.earlier[at].stem + suffix) if at < count else self.path(SIGNED, at - count, suffix)

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
        function: Callable[[Any, Any], dict[str, Any]],
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
