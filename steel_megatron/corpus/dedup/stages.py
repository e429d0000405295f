"""Runs the tasks of a stage, as many at once as the memory holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.corpus.dedup.work import Job
from steel_megatron.jobs.engine import Engine


@dataclass(frozen=True)
class Stages:
    """
    Args:
        memory: bytes that all workers of a machine may take.
    """

    engine: Engine
    memory: int

    def run(
        self,
        stage: str,
        function: Callable[[Job, Any], int],
        job: Job,
        tasks: Sequence[Any],
        *,
        most: int,
        task_bytes: int = 0,
    ) -> list[dict[str, Any]]:
        """Runs ``function(job, task)`` for the tasks that are not done; returns the counts of all, in order.

        Args:
            function: at module level; returns the task's number after its marker is written.
            tasks: objects with ``number`` and ``size``, or numbers.
            most: workers that are worth starting for this much work.
            task_bytes: memory that one task takes at most; fewer run at once where all would not fit.
        """
        job.file(stage).mkdir(exist_ok=True)

        def done(task: Any) -> int | None:
            return None if job.task(stage, _number(task)).done() is None else _number(task)

        self.engine.run(stage, function, job, tasks, done, min(most, max(1, self.memory // max(task_bytes, 1))))
        results = [job.done(stage, _number(task)) for task in tasks]
        missing = [number for number, result in enumerate(results) if result is None]
        if missing:
            raise DataError(
                f"stage {stage}: task {missing[0]} left no marker in {job.file(stage)}",
                rule="with --engine ray every machine sees the output folder under the same path",
                fix="use a shared file system",
            )
        return [result for result in results if result is not None]


def _number(task: Any) -> int:
    return int(getattr(task, "number", task))
