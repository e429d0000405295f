"""The fsspec file system of ``parts://`` locations: reading a file that lies in parts."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

from fsspec import AbstractFileSystem

from steel_megatron.jobs.files import ContentStream
from steel_megatron.jobs.split_files import PROTOCOL, checked_parts, parts_of, path_of

_READ_BYTES = 1 << 20


class SplitFiles(AbstractFileSystem):
    """Each file is its parts, one behind the other; it is read from beginning to end."""

    protocol = PROTOCOL

    def isfile(self, path: str) -> bool:
        return len(parts_of(path_of(path))) > 1

    def exists(self, path: str, **kwargs: Any) -> bool:
        return self.isfile(path)

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        facts = [os.stat(part) for part in checked_parts(path_of(path))]
        return {
            "name": path_of(path),
            "type": "file",
            "size": sum(fact.st_size for fact in facts),
            "mtime": ",".join(str(fact.st_mtime_ns) for fact in facts),
        }

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> io.BufferedReader:
        return io.BufferedReader(ContentStream(_content(checked_parts(path_of(path)))))


def _content(parts: list[str]) -> Iterator[bytes]:
    for part in parts:
        with open(part, "rb") as file:
            while data := file.read(_READ_BYTES):
                yield data
