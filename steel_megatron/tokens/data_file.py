"""A data file as it was when it was opened: whether it is still that file, and reads that outlive its being cut off."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from steel_megatron import _indexed
from steel_megatron.config import DataError

_RULE = "the data of a run stays as it is while the run reads it"
_FIX = "bring the file back as it was, and give the same command again: it goes on from the last checkpoint"


BLOCKS, BLOCK_BYTES = 16, 4096  # of a file, that tell whether it was written to


class MovedDataError(DataError):
    """The name leads to no file or to another one; the one that was opened is still there, and whole."""


class DataFile:
    """What the system says of a file, and from the first check on a few blocks of what it holds."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._found = _look(path)
        self._content = b""

    def check(self) -> None:
        """Compares with the file that has the name now.

        Raises:
            MovedDataError: it is gone, or another file has its name.
            DataError: it is of another size, or holds something else.
        """
        try:
            changed = self._change()
        except OSError as error:
            raise MovedDataError(f"{self.path} was removed under the run ({error.strerror})", _RULE, _FIX) from error
        if changed:
            raise DataError(f"{self.path} {changed}", _RULE, _FIX)

    def _change(self) -> str:
        """What is not as it was of the file that was opened; empty if nothing is."""
        now, then = _look(self.path), self._found
        if now[:2] != then[:2]:
            what = f"was replaced by another file under the run ({then[2]:,} bytes before, {now[2]:,} now)"
            raise MovedDataError(f"{self.path} {what}", _RULE, _FIX)
        if now[2] != then[2]:
            kind = "was cut off" if now[2] < then[2] else "has grown"
            return f"{kind} under the run: it had {then[2]:,} bytes and has {now[2]:,}"
        content = self._content
        if now != then or not content:
            self._content, self._found = _sampled(self.path, then[2]), now
        # The time alone may change on a network file system, or by a touch.
        return "was written to under the run" if content and self._content != content else ""


@contextmanager
def guarded_reads(damaged: Callable[[], Iterable[str]]) -> Iterator[None]:
    """What this thread reads of mapped files inside is only good if this ends without an error.

    Args:
        damaged: the files that were read and turned out to lack a part.

    Raises:
        DataError: a part was not there any more; names the file, whatever else went wrong because of it.
    """
    _indexed.guard_thread(True)
    try:
        yield
    finally:
        _indexed.guard_thread(False)
        for path in damaged() if _indexed.lost_pages() else ():
            raise DataError(f"{path} was cut off under the run, and a part that is needed is gone", _RULE, _FIX)


def _sampled(path: str, size: int) -> bytes:
    """A hash of some blocks from the first to the last."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        for block in range(BLOCKS):
            digest.update(os.pread(file.fileno(), BLOCK_BYTES, max(size - BLOCK_BYTES, 0) * block // (BLOCKS - 1)))
    return digest.digest()


def _look(path: str) -> tuple[int, int, int, int]:
    """Device, number, size and time of the last write."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
