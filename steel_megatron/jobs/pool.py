"""Work on a stream of items by several processes, results in the order of the items."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from steel_megatron.config import DataError, SteelError
from steel_megatron.jobs.slots import task_slot

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items that a worker has at once: one in work, one waiting
HELD = 8  # items per worker that are in work, waiting, or done before their turn


def ordered_map(
    function: Callable[[Any, Item], Result], state: Any, items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """``function(state, item)`` for each item, in order.

    With one worker everything happens in this process. With more, ``state`` is sent to each once, and at most ``HELD``
    items per worker are taken from ``items`` beyond the results given out, so memory is bounded. Each item is worked on
    in a slot, where slots are shared with other runs.

    Raises:
        SteelError, OSError: raised by ``function``, passed on.
        DataError: ``function`` raised something else, or a worker process died; ``str(item)`` names the item.
    """
    if workers <= 1:
        for item in items:
            with task_slot():
                result = function(state, item)
            yield result
        return
    pool = _Pool(function, state, workers)
    try:
        yield from pool.results(items)
    finally:
        pool.stop()


class _Worker(Generic[Item]):
    """A process and what it has been given."""

    def __init__(self, function: Callable[..., Any], state: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, function, state), daemon=True)
        self.process.start()
        theirs.close()
        self.items: list[tuple[int, Item]] = []

    def give(self, number: int, item: Item) -> None:
        """Sends (number, item) and notes it as this worker's until its result is taken.

        Raises:
            DataError: the process has died.
        """
        self.items.append((number, item))
        try:
            self.connection.send((number, item))
        except (BrokenPipeError, ConnectionResetError):
            raise self.death() from None

    def take(self) -> tuple[int, Any]:
        """The number of an item and its result; waits for the worker if it has none ready.

        Raises:
            SteelError, OSError: the function raised it.
            DataError: the function raised something else, or the process has died.
        """
        try:
            number, succeeded, result = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise self.death() from None
        item = next(item for at, item in self.items if at == number)
        self.items = [entry for entry in self.items if entry[0] != number]
        if succeeded:
            return number, result
        if isinstance(result, (SteelError, OSError)):
            raise result
        raise DataError(f"a worker process failed on {item}:\n{result}")

    def death(self) -> DataError:
        """The error for a process that has ended: how it ended, and the items that it had."""
        self.process.join(timeout=10)
        at = " and ".join(str(item) for _, item in self.items) or "no item"
        code = self.process.exitcode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
        return DataError(
            f"a worker process died ({how}) while it had {at}",
            rule="no result is left out, so the run stops",
            fix="if the machine ran out of memory use fewer --workers, else look at these lines",
        )


class _Pool(Generic[Item, Result]):
    """W workers, and the results that came before their turn."""

    def __init__(self, function: Callable[[Any, Item], Result], state: Any, workers: int) -> None:
        self.workers: list[_Worker[Item]] = [_Worker(function, state) for _ in range(workers)]

    def results(self, items: Iterable[Item]) -> Iterator[Result]:
        """The results in the order of the items. In turns, until all items are taken and all results are given out:

        1. give out the result that is due, and those that follow it without a gap;
        2. give items to the worker with the fewest, at most ``AHEAD`` to each and ``HELD`` · W in all;
        3. wait until a worker has a result, and put it by under its number.

        So each item from ``due`` on is in one place: in ``done``, in a worker's ``items``, or not taken yet. They are
        given in order, so whenever a result is waited for, a worker has the one that is due.
        """
        numbered = enumerate(items)
        done: dict[int, Result] = {}
        due = 0  # number of the next result to give out
        exhausted = False
        limit = HELD * len(self.workers)
        while True:
            while due in done:
                yield done.pop(due)
                due += 1
            while not exhausted and self._outstanding() + len(done) < limit:
                worker = min(self.workers, key=lambda worker: len(worker.items))
                if len(worker.items) == AHEAD:
                    break
                entry = next(numbered, None)
                if entry is None:
                    exhausted = True
                else:
                    worker.give(*entry)
            if exhausted and not self._outstanding():
                return
            for worker in self._ready():
                number, result = worker.take()
                done[number] = result

    def stop(self) -> None:
        """Ends all workers, whatever they are at."""
        for worker in self.workers:
            worker.connection.close()
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join()

    def _outstanding(self) -> int:
        return sum(len(worker.items) for worker in self.workers)

    def _ready(self) -> list[_Worker[Item]]:
        """The workers with a result or at their end; waits for at least one."""
        sources = {worker.connection: worker for worker in self.workers}
        ready = wait(list(sources))
        return [sources[connection] for connection in ready if isinstance(connection, Connection)]


def _serve(connection: Connection, function: Callable[[Any, Any], Any], state: Any) -> None:
    """The life of a worker process.

    It reads pairs (number, item), and writes for each a triple (number, whether it succeeded, what it gave): the
    result, an error that is passed on as it is, or the text of a traceback. It ends when the pipe is closed.

    A thread takes items in as they come, so that the parent never waits for this process to read while this process
    waits for the parent to take a result.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its workers
    inbox: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()

    def receive() -> None:
        try:
            while True:
                inbox.put(connection.recv())
        except (EOFError, OSError):
            inbox.put(None)

    threading.Thread(target=receive, daemon=True).start()
    while (entry := inbox.get()) is not None:
        number, item = entry
        try:
            with task_slot():
                answer = (number, True, function(state, item))
        except (SteelError, OSError) as error:
            answer = (number, False, error)
        except Exception:
            answer = (number, False, traceback.format_exc())
        try:
            connection.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return
