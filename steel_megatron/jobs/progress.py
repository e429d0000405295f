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


class _Counter(list[int]):
    """Counts within a process, with the lock of one that processes share (which takes a process of its own)."""

    def __init__(self, counts: list[int]) -> None:
        super().__init__(counts)
        self._lock = threading.Lock()

    def get_lock(self) -> threading.Lock:
        return self._lock


class Progress:
    """Counts bytes of input, and where there are any, documents, tokens and bytes of text.

    Args:
        what: what is being done, in a word or two.
        total: bytes of the whole work.
        log_interval: documents between log lines where there is no terminal, of which at most one a second is written;
            0: no line. None: a line now and then.
    """

    def __init__(self, what: str, total: int, log_interval: int | None = None) -> None:
        self.what = what
        self.total = total
        self.log_interval = log_interval
        self.counter: Any = _Counter([0] * 4)
        self._start = self._logged = time.monotonic()
        self._logged_documents = 0
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
            self._show()
            self._bar.close()

    def add(self, count: int, documents: int = 0, tokens: int = 0, text_bytes: int = 0) -> None:
        add_to(self.counter, count, documents, tokens, text_bytes)

    def share(self) -> Any:
        """The counter as one to which worker processes add; it travels to them with their start."""
        self.counter = multiprocessing.get_context("spawn").Array("q", self.counter[:])
        return self.counter

    def summary(self) -> str:
        """One line on the whole run."""
        _, documents, tokens, text_bytes = self.counter[:]
        seconds = time.monotonic() - self._start
        return (
            f"{documents:,} documents, {tokens:,} tokens, {text_bytes / 1e6:,.1f} MB of text "
            f"in {seconds:,.1f} s ({self._rates()})"
        )

    def _watch(self) -> None:
        while not self._end.wait(POLL_SECONDS):
            if self._bar is not None:
                self._show()
            elif self._is_due():
                self._logged, self._logged_documents = time.monotonic(), self.counter[1]
                share = f"{100 * self.counter[0] / max(self.total, 1):.0f} %"
                told = f", {self.counter[1]:,} documents, {self._rates()}" if self.counter[1] else ""
                log.info("%s: %s%s", self.what, share, told)

    def _is_due(self) -> bool:
        seconds = time.monotonic() - self._logged
        if self.log_interval is None:
            return seconds >= LOG_SECONDS
        documents = self.counter[1] - self._logged_documents
        return 0 < self.log_interval <= documents and seconds >= 1.0

    def _show(self) -> None:
        if self.counter[1]:
            self._bar.set_postfix_str(self._rates(), refresh=False)
        self._bar.update(min(self.counter[0], self.total) - self._bar.n)

    def _rates(self) -> str:
        _, documents, tokens, text_bytes = self.counter[:]
        seconds = max(time.monotonic() - self._start, 1e-9)
        return (
            f"{text_bytes / seconds / 1e6:,.1f} MB/s, {documents / seconds:,.0f} docs/s, "
            f"{tokens / seconds:,.0f} tokens/s"
        )


def add_to(counter: Any, count: int, documents: int = 0, tokens: int = 0, text_bytes: int = 0) -> None:
    """Adds to a counter that processes share, where there is one."""
    if counter is None:
        return
    with counter.get_lock():
        for place, more in enumerate((count, documents, tokens, text_bytes)):
            counter[place] += more
