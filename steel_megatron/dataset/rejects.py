"""``{prefix}.rejects.jsonl``: the lines that gave no document, each with its place and reason."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTENT_CHARACTERS = 2000


@dataclass(frozen=True)
class Reject:
    """One line; ``content`` is its beginning, bytes that are not UTF-8 written as ``\\xNN``."""

    line: int
    reason: str
    detail: str
    content: str

    @classmethod
    def of(cls, line: int, reason: str, detail: str, data: bytes) -> Reject:
        text = data[: 4 * CONTENT_CHARACTERS].decode("utf-8", "backslashreplace").rstrip("\r\n")
        return cls(line, reason, detail[:500], text[:CONTENT_CHARACTERS])


class RejectLog:
    """Collects rejects beside a run's output; the file takes its name at the end, and only if it has a line."""

    def __init__(self, prefix: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        self.path = rejects_path(prefix)
        self.counts: Counter[str] = Counter(state["counts"] if state else {})
        self._partial = self.path.with_name(self.path.name + ".partial")
        if state:
            os.truncate(self._partial, state["bytes"])
        # A file name that is not UTF-8 is written with JSON escapes by the error handler.
        mode = "a" if state else "w"
        self._file = open(self._partial, mode, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def add(self, file: str, reject: Reject) -> None:
        self.counts[reject.reason] += 1
        record = {"file": file, "line": reject.line, "reason": reject.reason, "detail": reject.detail}
        self._file.write(json.dumps({**record, "content": reject.content}, ensure_ascii=False) + "\n")

    def sync(self) -> dict[str, Any]:
        """Waits until the disk has everything; returns what a run needs to go on from here."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"counts": dict(self.counts), "bytes": self._partial.stat().st_size}

    def leave(self) -> None:
        """Closes the file and leaves it for a run that goes on."""
        self._file.close()

    def finish(self) -> None:
        """Gives the file its name; takes an older one away when nothing was rejected."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self.counts:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink()
            self.path.unlink(missing_ok=True)

    def abort(self) -> None:
        """Leaves no file of this run."""
        self._file.close()
        self._partial.unlink(missing_ok=True)


def rejects_path(prefix: str | os.PathLike[str]) -> Path:
    """``{prefix}.rejects.jsonl``."""
    return Path(f"{os.fspath(prefix)}.rejects.jsonl")
