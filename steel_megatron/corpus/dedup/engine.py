"""Runs the tasks of a stage on processes of this machine or as Ray tasks; those done before are not run again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from steel_megatron.config import ConfigError, DataError, SteelError
from steel_megatron.corpus.dedup.work import Job
from steel_megatron.jobs.pool import ordered_map
from steel_megatron.jobs.progress import Progress

log = logging.getLogger(__name__)
ENGINES = ("local", "ray")
_AHEAD = 2  # Ray tasks handed in per worker

Task = Callable[[Job, Any], int]


@dataclass(frozen=True)
class Engine:
    """
    Args:
        kind: "local" or "ray". Ray needs a folder that all machines see under one path.
        workers: tasks at once.
        memory: bytes that all workers of a machine may take.
    """

    kind: str
    workers: int
    memory: int

    def run(
        self, stage: str, function: Task, job: Job, tasks: Sequence[Any], *, most: int, task_bytes: int = 0
    ) -> list[dict[str, Any]]:
        """Runs ``function(job, task)`` for the tasks without a marker; returns the counts of all, in order.

        Args:
            function: at module level; returns the task's number after its marker is written.
            tasks: objects with ``number`` and ``size``, or numbers.
            most: workers that are worth starting for this much work.
            task_bytes: memory that one task takes at most; fewer run at once where all would not fit.
        """
        job.file(stage).mkdir(exist_ok=True)
        open_tasks = [task for task in tasks if not job.marker(stage, _number(task)).exists()]
        if len(open_tasks) < len(tasks):
            log.info("%s: %d of %d tasks were done before", stage, len(tasks) - len(open_tasks), len(tasks))
        workers = max(1, min(self.workers, most, len(open_tasks), self.memory // max(task_bytes, 1)))
        run = _ray_map if self.kind == "ray" else ordered_map
        sizes = {_number(task): getattr(task, "size", 1) for task in open_tasks}
        with Progress(stage, sum(sizes.values())) as progress:
            for number in run(function, job, open_tasks, workers) if open_tasks else ():
                progress.add(sizes[number])
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


def check_engine(kind: str) -> None:
    """
    Raises:
        ConfigError: there is none of that name, or its package is missing.
    """
    if kind not in ENGINES:
        raise ConfigError(f"--engine {kind}", rule=f"it is one of {', '.join(ENGINES)}")
    if kind == "ray":
        _ray()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "--engine ray, but Ray is not installed", rule="the engine hands its tasks to Ray", fix="pip install ray"
        ) from None
    return ray


def _ray_map(function: Callable[..., Any], job: Job, tasks: Iterable[Any], workers: int) -> Iterator[Any]:
    """Results as they come; a bounded number of tasks is handed in at once."""
    ray = _ray()
    if not ray.is_initialized():
        remote = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **remote)
    task_of = ray.remote(function)
    shared = ray.put(job)
    waiting = iter(tasks)
    running: list[Any] = []
    while True:
        while len(running) < _AHEAD * workers and (task := next(waiting, None)) is not None:
            running.append(task_of.remote(shared, task))
        if not running:
            return
        ready, running = ray.wait(running, num_returns=1)
        try:
            yield ray.get(ready[0])
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SteelError):
                raise error.cause from None
            raise DataError(f"a Ray task failed:\n{error}") from None
