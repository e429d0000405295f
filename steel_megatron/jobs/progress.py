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


class FileProgress:
    """Counts bytes of input, documents, tokens and bytes of text.

    Args:
        total: bytes of all input files.
        log_interval: documents between log lines where there is no terminal; at most one line a second is written.
            0: never.
        bar: None shows a bar when standard error is a terminal.
    """

    def __init__(self, what: str, total: int, log_interval: int = 10_000, bar: bool | None = None) -> None:
        self.what = what
        self.total = total
        self.log_interval = log_interval
        self.done = self.documents = self.tokens = self.text_bytes = 0
        self._start = time.monotonic()
        self._logged_documents, self._logged_time = 0, self._start
        show = sys.stderr.isatty() if bar is None else bar
        self._bar: Any = tqdm(total=total, desc=what, unit="B", unit_scale=True) if show else None

    def add(self, input_bytes: int, documents: int = 0, tokens: int = 0, text_bytes: int = 0) -> None:
        self.done += input_bytes
        self.documents += documents
        self.tokens += tokens
        self.text_bytes += text_bytes
        if self._bar is not None:
            self._bar.set_postfix_str(self._rates(), refresh=False)
            self._bar.update(input_bytes)
            return
        now = time.monotonic()
        due = self.log_interval > 0 and self.documents - self._logged_documents >= self.log_interval
        if due and now - self._logged_time >= 1.0:
            self._logged_documents, self._logged_time = self.documents, now
            share = f"{100 * self.done / self.total:.0f} %, " if self.total else ""
            log.info("%s: %s%s documents, %s", self.what, share, f"{self.documents:,}", self._rates())

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def summary(self) -> str:
        """One line on the whole run."""
        seconds = time.monotonic() - self._start
        return (
            f"{self.documents:,} documents, {self.tokens:,} tokens, {self.text_bytes / 1e6:,.1f} MB of text "
            f"in {seconds:,.1f} s ({self._rates()})"
        )

    def _rates(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        return (
            f"{self.text_bytes / seconds / 1e6:,.1f} MB/s, {self.documents / seconds:,.0f} docs/s, "
            f"{self.tokens / seconds:,.0f} tokens/s"
        )
