"""Records that gave no document, each with its place and reason: one form of line for all commands."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron.config.errors import DataError
from steel_megatron.config.texts import some
from steel_megatron.jobs.never_data import REJECTS

CONTENT_CHARACTERS, DETAIL_CHARACTERS = 2000, 500


def reject_line(place: Mapping[str, Any], reason: str, detail: str, content: str) -> bytes:
    """A line of a file of rejects: where the record stands, why it is refused, and how it begins."""
    return _line({**place, "reason": reason, "detail": detail[:DETAIL_CHARACTERS], "content": content})


def _line(record: Mapping[str, Any]) -> bytes:
    # Half surrogates, of a file name or a detail, are written as JSON escapes.
    return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


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

    def json(self, file: str) -> bytes:
        return reject_line({"file": file, "line": self.line}, self.reason, self.detail, self.content)


def no_document(
    reasons: Mapping[str, int],
    suspects: Mapping[str, str],
    rule: str = "at least one record gives a text",
    fix: str = "check --input",
    example: str = "",
) -> DataError:
    """The error of a run all of whose records were refused.

    Args:
        reasons: reason → how many.
        suspects: files that are not what their names say, and what they are.
        example: the detail of a record that was refused.
    """
    told = some([f"{name} {what}" for name, what in suspects.items()], between="; ")
    counted = ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items(), key=lambda pair: -pair[1]))
    return DataError(
        f"no document: {sum(reasons.values()):,} records rejected ({counted or 'none'})",
        rule=rule,
        fix=told or (f"{fix}; one of them: {example}" if example else fix),
    )


def first_detail(path: Path) -> str:
    """The detail of the first line of a file of rejects; empty where there is none."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        line = file.readline()
    return str(json.loads(line)["detail"]) if line else ""


def moved(line: bytes, lines_before: int) -> bytes:
    """A line of rejects of a part that has lines of its file before it."""
    record = json.loads(line) if lines_before else {}
    return _line({**record, "line": record["line"] + lines_before}) if record else line


def rejects_path(prefix: str | os.PathLike[str]) -> Path:
    """``{prefix}.rejects.jsonl``."""
    return Path(os.fspath(prefix) + REJECTS)
