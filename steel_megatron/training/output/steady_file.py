"""A file that a run appends to for days, and that outlives a full disk and a folder that is removed under it."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

KEPT_BYTES = 64 << 20  # of what waits to be written; beyond that the oldest is lost
COPIED_AT_ONCE = 1 << 20


class SteadyFile:
    """Appends to a file; what goes wrong is told once, kept in memory, and written when that is possible again.

    A write is whole or not there: what a full disk took of it is cut off again. A file that is removed while it is open
    still has its content, which is written to a new file of that name.

    Raises:
        OSError: the file cannot be opened at first: that is for the start of a run to say.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[bytes] = []
        self._lost = 0
        self._told = False
        self._descriptor = -1
        self._size = 0  # bytes of whole writes
        self._open()

    def append(self, data: bytes) -> None:
        """Adds to the file, or to what waits for it."""
        self._waiting.append(data)
        try:
            self._write()
        except OSError as error:
            self._tell(error)
            while sum(map(len, self._waiting)) > KEPT_BYTES:
                self._waiting.pop(0)
                self._lost += 1
        else:
            if self._told:
                lost = f"; {self._lost} of the writes before it are lost" if self._lost else ", with what was kept"
                log.warning("%s is written again%s", self.path, lost)
                self._told, self._lost = False, 0

    def close(self) -> None:
        """A last try, and a word on what is lost for good."""
        if self._descriptor < 0:
            return
        try:
            self._write()
        except OSError as error:
            log.warning("%s lacks its end: %s", self.path, error.strerror)
        os.close(self._descriptor)
        self._descriptor = -1

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._size = os.fstat(self._descriptor).st_size

    def _write(self) -> None:
        self._follow()
        data = b"".join(self._waiting)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            if written:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
            raise
        self._size += written
        self._waiting.clear()

    def _follow(self) -> None:
        """Opens the file anew where its name leads somewhere else by now."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            found = None
        own = os.fstat(self._descriptor)
        if found is not None and (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
            return
        before = self._descriptor
        if found is None:
            self._restore()
            log.warning("%s was removed: it is made again, with what it held", self.path)
        self._open()
        os.close(before)

    def _restore(self) -> None:
        """Gives the name to a copy of what the removed file holds."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            with open(temporary, "wb") as copy:
                place = 0
                while place < self._size and (
                    block := os.pread(self._descriptor, min(COPIED_AT_ONCE, self._size - place), place)
                ):
                    copy.write(block)
                    place += len(block)
            os.replace(temporary, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "%s cannot be written (%s): training goes on; what belongs there is kept in memory and tried again",
                self.path,
                error.strerror or error,
            )
