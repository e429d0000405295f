"""Tasks by processes of this machine or as Ray tasks; those done before are not run again."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    ) -> list[Result]:
        """``function(state, task)`` of the tasks not done before; the results of all, in order.

        Args:
            what: is done, in a word or two.
            function: at module level.
            state: goes to each worker once. A field ``folder`` is that of the work. A field ``counter`` is set to one
                that takes bytes while a task is at work; else a task counts by its ``size`` when it is done.
            done: the result of a task that is done, as it stands in the work folder.
            at_once: fewer workers than :attr:`workers`.
        """
        results = {number: result for number, task in enumerate(tasks) if (result := done(task)) is not None}
        todo = [number for number in range(len(tasks)) if number not in results]
        if results:
            log.info("%s: %s of %s parts are there from a run before", what, f"{len(results):,}", f"{len(tasks):,}")
        workers = max(1, min(self.workers, len(todo), at_once or self.workers))
        counts_itself = self.kind == "local" and hasattr(state, "counter")
        sizes = [int(getattr(tasks[number], "size", 1)) for number in todo]
        with Progress(what, sum(sizes)) as progress:
            if counts_itself:
                state = replace(state, counter=progress.counter)
            each = (ray_map if self.kind == "ray" else ordered_map)(
                function, state, map(tasks.__getitem__, todo), workers
            )
            for number, size, result in zip(todo, sizes, each, strict=True):
                results[number] = result
                if not counts_itself:
                    progress.add(size)
        return [results[number] for number in range(len(tasks))]


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
) -> Iterator[Result]:
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
