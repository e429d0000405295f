"""How far a long run is: a bar on a terminal, else a log line now and then."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)
POLL_SECONDS = 0.2
LOG_SECONDS = 15.0


class Progress:
    """Counts bytes, also those that worker processes add to :attr:`counter`.

    Args:
        what: what is being done, in a word or two.
        total: bytes of the whole work.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        # Made for the start method of the workers; it travels to them with their start.
        self.counter: Any = multiprocessing.get_context("spawn").Value("q", 0)
        self._bar: Any = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        if self.total and sys.stderr.isatty():
            self._bar = tqdm(total=self.total, desc=self.what, unit="B", unit_scale=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.close()

    def add(self, count: int) -> None:
        add_to(self.counter, count)

    def _watch(self) -> None:
        logged = time.monotonic()
        while not self._end.wait(POLL_SECONDS):
            if self._bar is not None:
                self._show()
            elif time.monotonic() - logged >= LOG_SECONDS:
                logged = time.monotonic()
                log.info("%s: %.0f %%", self.what, 100 * self.counter.value / max(self.total, 1))
        if self._bar is not None:
            self._show()

    def _show(self) -> None:
        self._bar.update(min(self.counter.value, self.total) - self._bar.n)


def add_to(counter: Any, count: int) -> None:
    """Adds to a counter that processes share, where there is one."""
    if counter is None:
        return
    with counter.get_lock():
        counter.value += count
