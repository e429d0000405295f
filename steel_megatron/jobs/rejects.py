"""Records that gave no document, each with its place and reason: one form of line for all commands."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron.jobs.durable import partial_of
from steel_megatron.jobs.never_data import REJECTS

CONTENT_CHARACTERS, DETAIL_CHARACTERS = 2000, 500


def reject_line(place: Mapping[str, Any], reason: str, detail: str, content: str) -> str:
    """A line of a file of rejects: where the record stands, why it is refused, and how it begins."""
    record = {**place, "reason": reason, "detail": detail[:DETAIL_CHARACTERS], "content": content}
    return json.dumps(record, ensure_ascii=False) + "\n"


def shown(data: bytes) -> str:
    """The beginning of a record to be read by people; bytes that are not UTF-8 are written as ``\\xNN``."""
    text = data[: 4 * CONTENT_CHARACTERS].decode("utf-8", "backslashreplace")
    return text.rstrip("\r\n")[:CONTENT_CHARACTERS]


@dataclass(frozen=True)
class Reject:
    """One line; ``content`` is its beginning, bytes that are not UTF-8 written as ``\\xNN``."""

    line: int
    reason: str
    detail: str
    content: str

    @classmethod
    def of(cls, line: int, reason: str, detail: str, data: bytes) -> Reject:
        return cls(line, reason, detail[:DETAIL_CHARACTERS], shown(data))

    def json(self, file: str) -> str:
        return reject_line({"file": file, "line": self.line}, self.reason, self.detail, self.content)


def moved(line: bytes, lines_before: int) -> bytes:
    """A line of rejects of a part that has lines of its file before it."""
    if not lines_before:
        return line
    record = json.loads(line)
    record["line"] += lines_before
    return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


class RejectLog:
    """Collects rejects beside a run's output; the file takes its name at the end, and only if it has a line."""

    def __init__(self, prefix: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        self.path = rejects_path(prefix)
        self.counts: Counter[str] = Counter(state["counts"] if state else {})
        self._partial = partial_of(self.path)
        if state:
            os.truncate(self._partial, state["bytes"])
        # A file name that is not UTF-8 is written with JSON escapes by the error handler.
        mode = "a" if state else "w"
        self._file = open(self._partial, mode, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def add(self, file: str, reject: Reject) -> None:
        self.counts[reject.reason] += 1
        self._file.write(reject.json(file))

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
    return Path(os.fspath(prefix) + REJECTS)
