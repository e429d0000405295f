"""One run at a time writes an output."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from steel_megatron.config.errors import DataError

log = logging.getLogger(__name__)


def take(lock: IO[str], what: str | os.PathLike[str]) -> str | None:
    """Locks an open file until it is closed, and writes this process's number to it.

    Args:
        what: is written under the lock, for a warning.

    Returns:
        None, or the number of the process that holds it; empty where it does not say.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        return lock.read().strip()
    except OSError as error:  # some network mounts have no locks
        log.warning("%s cannot be locked (%s): start no second run on it", os.fspath(what), error.strerror)
    with suppress(OSError):  # a full disk: who holds it is not said, but it is held
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), str(os.getpid()).encode())
    return None


@contextmanager
def locked(path: Path, what: str | os.PathLike[str], remove: bool = False) -> Iterator[None]:
    """Holds a lock file, made with its folder, for the block; the system frees it however the process ends.

    Args:
        what: that is written, for the error.
        remove: takes the file away at the end of the block.

    Raises:
        DataError: another run holds it.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+", encoding="utf-8") as lock:
            if (owner := take(lock, what)) is not None:
                raise DataError(
                    f"another run{owner and f' (process {owner})'} writes {os.fspath(what)}",
                    rule="one run writes an output at a time",
                    fix="wait for it, stop it, or use another output",
                )
            if not path.exists() or not os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                continue  # a run that ended meanwhile took it away
            try:
                yield
            finally:
                if remove:
                    path.unlink(missing_ok=True)
            return
