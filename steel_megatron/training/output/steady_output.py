"""What a run prints never ends it: a line that a full disk does not take is lost, and that is said."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import IO, Any


class SteadyOutput:
    """A text stream in the place of another; lines that cannot be written are counted, and told once there is room.

    Bytes go straight to the descriptor where there is one, so that none is left in a buffer to fail later. A closed
    pipe stays an error: nobody is reading, and whoever started the run is gone.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lost = 0
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        self._raw: io.RawIOBase | None = raw if isinstance(raw, io.RawIOBase) else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes all of it or loses it."""
        if self._lost and text.strip():
            self._put(f"({self._lost} lines before this could not be written: {self._why})\n")
        if not self._put(text):
            self._lost += text.count("\n")
        elif text.strip():
            self._lost = 0
        return len(text)

    def flush(self) -> None:
        """Nothing waits in this stream; the one below is emptied, if it can."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._why = error.strerror

    def _put(self, text: str) -> bool:
        try:
            if self._raw is None:
                self._stream.write(text)
                self._stream.flush()
            else:
                data = memoryview(text.encode(getattr(self._stream, "encoding", None) or "utf-8", "replace"))
                while data:
                    data = data[self._raw.write(data) or 0 :]
        except BrokenPipeError:
            raise
        except OSError as error:
            self._why = error.strerror
            return False
        return True


@contextlib.contextmanager
def steady_output() -> Iterator[None]:
    """Standard output and standard error, steadied while this lasts."""
    before = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before the process began
            continue
        with contextlib.suppress(OSError):
            stream.flush()
        setattr(sys, name, SteadyOutput(stream))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
