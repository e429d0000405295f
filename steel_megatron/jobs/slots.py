"""A limit on tasks at once that several runs on a machine share: each task holds a slot while it is at work.

So runs beside one another are one queue: whichever has a task takes the next slot that is free. A slot is a locked
file; the system frees it however a process ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "STEEL_TASK_SLOTS"  # of the environment: the folder of the slots
WAIT_SECONDS = 0.02


def make_slots(folder: Path, count: int) -> dict[str, str]:
    """Makes a folder of slots; the variable by which runs that are started with it share them."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    for number in range(count):
        (folder / str(number)).touch()
    return {VARIABLE: os.fspath(folder)}


@contextmanager
def task_slot() -> Iterator[None]:
    """Waits for a slot and holds it for the block; where none are shared, the block begins at once."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        yield
        return
    slot = _lock_one(folder)
    try:
        yield
    finally:
        os.close(slot)


def _lock_one(folder: str) -> int:
    """The descriptor of a file of the folder that this process has locked."""
    names = sorted(os.listdir(folder))
    turn = os.getpid()
    while True:
        turn += 1
        slot = os.open(os.path.join(folder, names[turn % len(names)]), os.O_RDWR)
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(slot)
            if turn % len(names) == 0:
                time.sleep(WAIT_SECONDS)
        else:
            return slot
