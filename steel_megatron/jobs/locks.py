"""One run at a time writes an output."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steel_megatron.config.errors import DataError


@contextmanager
def locked(path: Path, what: str | os.PathLike[str]) -> Iterator[None]:
    """Holds a lock file for the block; the system frees it however the process ends. The file stays.

    Args:
        what: that is written, for the error.

    Raises:
        DataError: another run holds it.
    """
    with open(path, "a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            raise DataError(
                f"another run{owner and f' (process {owner})'} writes {os.fspath(what)}",
                rule="one run writes an output at a time",
                fix="wait for it, stop it, or use another output",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
