"""Tasks by processes of this machine or as Ray tasks; those done before are not run again."""

from __future__ import annotations

import logging
import os
import platform
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from steel_megatron.config.errors import ConfigError, DataError, SteelError
from steel_megatron.jobs.pool import HELD, Item, Result, ordered_map
from steel_megatron.jobs.progress import Progress

log = logging.getLogger(__name__)
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """
    Args:
        kind: "local" or "ray". Ray needs a folder that all machines see under one path.
        workers: tasks at once.

    Raises:
        ConfigError: there is no engine of that name, or its package is missing.
    """

    kind: str = "local"
    workers: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ENGINES:
            raise ConfigError(f"--engine {self.kind}", rule=f"it is one of {', '.join(ENGINES)}")
        if self.workers < 1:
            raise ConfigError(f"--workers {self.workers}", rule="it is 1 or more")
        if self.kind == "ray":
            _ray()

    def run(
        self,
        what: str,
        function: Callable[[Any, Item], Result],
        state: Any,
        tasks: Sequence[Item],
        done: Callable[[Item], Result | None],
        at_once: int | None = None,
        on_done: Callable[[Item], Any] = lambda task: None,
    ) -> list[Result]:
        """``function(state, task)`` of the tasks not done before; the results of all, in order.

        Args:
            what: is done, in a word or two.
            function: at module level.
            state: goes to each worker once. A field ``folder`` is that of the work. A field ``counter`` is set to one
                that takes bytes while a task is at work; else a task counts by its ``size`` when it is done.
            done: the result of a task that is done, as it stands in the work folder.
            at_once: fewer workers than :attr:`workers`.
            on_done: called with each task in order, when its result is there.
        """
        before = [done(task) for task in tasks]
        todo = [task for task, result in zip(tasks, before, strict=True) if result is None]
        if len(todo) < len(tasks):
            tell_done(what, len(tasks) - len(todo), len(tasks))
        workers = max(1, min(self.workers, len(todo), at_once or self.workers))
        with (
            Progress(what, sum(map(size_of, todo))) as progress,
            closing(self.stream(function, state, todo, progress, workers=workers)) as fresh,
        ):
            results = []
            for task, result in zip(tasks, before, strict=True):
                results.append(result if result is not None else next(fresh)[1])
                on_done(task)
            return results

    def stream(
        self,
        function: Callable[[Any, Item], Result],
        state: Any,
        tasks: Iterable[Item],
        progress: Progress,
        done: Callable[[Item], Result | None] = lambda task: None,
        workers: int | None = None,
    ) -> Generator[tuple[Item, Result], None, None]:
        """As :meth:`run`, for tasks that become known one after the other: each task and its result, in order.

        Args:
            progress: of all; what was done before is counted by the caller.
        """
        waiting: deque[tuple[Item, Result | None]] = deque()

        def todo() -> Iterator[Item]:
            for task in tasks:
                waiting.append((task, done(task)))
                if waiting[-1][1] is None:
                    yield task

        def done_before() -> Iterator[tuple[Item, Result]]:
            while waiting and (result := waiting[0][1]) is not None:
                yield waiting.popleft()[0], result

        workers = workers or self.workers
        counts_itself = self.kind == "local" and hasattr(state, "counter")
        if counts_itself:
            state = replace(state, counter=progress.share() if workers > 1 else progress.counter)
        each = (ray_map if self.kind == "ray" else ordered_map)(function, state, todo(), workers)
        with closing(each):
            for result in each:
                yield from done_before()
                task, _ = waiting.popleft()
                if not counts_itself:
                    progress.add(size_of(task))
                yield task, result
        yield from done_before()


def tell_done(what: str, count: int, total: int | None = None) -> None:
    """Says that a run goes on with the work of one before."""
    log.info("%s: %s%s parts are there from a run before", what, f"{count:,}", f" of {total:,}" if total else "")


def size_of(task: Any) -> int:
    """What a task weighs in a progress; 1 where it does not say."""
    return int(getattr(task, "size", 1))


def _ray() -> Any:
    try:
        import ray
        from ray import remote  # noqa: F401 - a folder of that name is no Ray
    except ImportError:
        raise ConfigError(
            "--engine ray, but Ray is not installed", rule="the engine hands its tasks to Ray", fix="pip install ray"
        ) from None
    return ray


def ray_map(
    function: Callable[[Any, Item], Result], state: Any, items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """As :func:`~steel_megatron.jobs.pool.ordered_map`, on Ray; a bounded number of tasks is handed in at once."""
    ray = _ray()
    if not ray.is_initialized():
        remote = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **remote)
    task_of, here = ray.remote(_at), os.getcwd()
    shared = ray.put((function, state))
    waiting = iter(items)
    handed: list[Any] = []
    while True:
        while len(handed) < HELD * workers and (item := next(waiting, None)) is not None:
            handed.append(task_of.remote(here, shared, item))
        if not handed:
            return
        try:
            yield ray.get(handed.pop(0))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, (SteelError, OSError)):
                raise error.cause from None
            raise DataError(f"a Ray task failed:\n{error}") from None


def _at(folder: str, shared: tuple[Callable[[Any, Item], Result], Any], item: Item) -> Result:
    """Runs a function where relative paths mean what they mean to the caller."""
    os.chdir(folder)
    function, state = shared
    if not os.path.isdir(work := getattr(state, "folder", folder)):
        raise DataError(
            f"{work} is not there on {platform.node()}",
            rule="with --engine ray every machine sees the output under the same path",
            fix="use a shared file system",
        )
    return function(state, item)
