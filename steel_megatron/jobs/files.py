"""Where input files lie: on this machine, or at any URL that fsspec knows (``s3://``, ``hf://``, ``memory://``, …).

``datasets://`` are those of :mod:`steel_megatron.jobs.streamed_datasets`, ``parts://`` of
:mod:`steel_megatron.jobs.split_filesystem`.
"""

from __future__ import annotations

import io
import os
import select
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, cast

from steel_megatron.config import ConfigError, DataError
from steel_megatron.jobs.needed import needed

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SPOOL_BYTES = 64 << 20  # a packed file that must be read at any place is held up to here, then in a temporary file
WAKE_MS = 500
_VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")

_OURS = {  # file systems of this package: protocol → class
    "datasets": "steel_megatron.jobs.streamed_datasets.StreamedDatasets",
    "parts": "steel_megatron.jobs.split_filesystem.SplitFiles",
}


def is_url(location: str | os.PathLike[str]) -> bool:
    """Whether fsspec is to find it; else it is a path on this machine."""
    return "://" in os.fspath(location)


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        ConfigError: fsspec, or what it needs for this kind of URL, is not there.
    """
    fsspec, core = needed("fsspec", url), needed("fsspec.core", url)
    try:
        for protocol, of in _OURS.items():
            fsspec.register_implementation(protocol, of, clobber=True)
        found, path = core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{url}: {error}", rule="the URL is of a kind that fsspec knows") from None
    return found, path


def open_file(location: str | os.PathLike[str]) -> IO[bytes]:
    """The file's bytes as they lie there; from a URL they are seekable where fsspec makes them so.

    Raises:
        OSError: it cannot be opened.
    """
    if is_url(location):
        files, path = filesystem(os.fspath(location))
        return cast("IO[bytes]", files.open(path, "rb"))
    raw = open(location, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        return io.BufferedReader(raw)
    return io.BufferedReader(_Pipe(raw))


class _Pipe(io.RawIOBase):
    """A pipe or terminal, read so that Ctrl-C is always noticed.

    A signal that arrives just before a read blocks does not end that read, and Python's buffered reader does not look
    for signals between two reads. So this waits in short turns, with Python code in between.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._poll = select.poll()
        self._poll.register(raw.fileno(), select.POLLIN)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        while not self._poll.poll(WAKE_MS):
            pass
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def state_of(location: str) -> tuple[int, str]:
    """The file's size in bytes, and a text that changes when the file does.

    Raises:
        DataError: it is not there.
    """
    try:
        if not is_url(location):
            status = os.stat(location)
            return status.st_size, str(status.st_mtime_ns)
        files, path = filesystem(location)
        facts = files.info(path)
        return int(facts["size"] or 0), next((str(facts[key]) for key in _VERSION_KEYS if key in facts), "")
    except OSError as error:
        raise DataError(f"cannot read {location}: {error.strerror or error}") from None


class ContentStream(io.RawIOBase):
    """Byte strings as a stream to read once, from beginning to end.

    ``position`` counts the bytes given out; ``last_mark`` is the place behind the last byte that is not zero.
    """

    def __init__(self, content: Iterable[bytes]) -> None:
        self.position = 0
        self.last_mark = 0
        self._content: Iterator[bytes] = iter(content)
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as one byte string goes."""
        if not self._pending:
            self._pending = memoryview(next(self._content, b""))
        count = min(len(buffer), len(self._pending))
        given = bytes(self._pending[:count])
        buffer[:count] = given
        self._pending = self._pending[count:]
        if marked := len(given.rstrip(b"\0")):
            self.last_mark = self.position + marked
        self.position += count
        return count


def spooled(content: Iterable[bytes]) -> IO[bytes]:
    """Content as a file that can be read at any place; it vanishes when closed."""
    file = cast("IO[bytes]", tempfile.SpooledTemporaryFile(SPOOL_BYTES))  # noqa: SIM115 - the caller closes it
    for data in content:
        file.write(data)
    file.seek(0)
    return file


def with_head(content: Iterator[bytes], count: int) -> tuple[bytes, Callable[[], Iterator[bytes]]]:
    """The beginning of content that can be read only once, and a function that gives it whole, once."""
    taken: list[bytes] = []
    while sum(map(len, taken)) < count and (data := next(content, b"")):
        taken.append(data)

    def whole() -> Iterator[bytes]:
        yield from taken
        taken.clear()
        yield from content

    return b"".join(taken)[:count], whole
