"""Counts of a long run: added up from everywhere, and told now and then."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from steel_megatron.jobs import progress as module
from steel_megatron.jobs.progress import Progress, add_to


def test_counts_of_many_threads_add_up() -> None:
    with Progress("work", 4000) as progress:
        threads = [threading.Thread(target=lambda: [progress.add(1, 2, 3, 4) for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert list(progress.counter) == [2000, 4000, 6000, 8000]
    assert progress.summary().startswith("4,000 documents, 6,000 tokens, 0.0 MB of text in ")


def test_sharing_keeps_what_was_counted() -> None:
    progress = Progress("work", 10)
    progress.add(3, 1)
    shared = progress.share()
    add_to(shared, 2, documents=1)
    assert progress.counter[:] == [5, 2, 0, 0]


def test_no_counter_is_no_count() -> None:
    add_to(None, 5)


def test_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "LOG_SECONDS", 0.0)
    caplog.set_level(logging.INFO, module.__name__)
    with Progress("count", 200) as progress:
        progress.add(50)
        end = time.monotonic() + 30
        while "count: 25 %" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize(("log_interval", "due"), [(0, False), (1000, True), (1001, False), (None, False)])
def test_lines_by_documents(log_interval: int | None, due: bool) -> None:
    progress = Progress("count", 10, log_interval)
    progress.add(10, 1000)
    assert not progress._is_due()  # at most one line a second
    progress._logged -= 2
    assert progress._is_due() is due
