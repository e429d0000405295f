"""Files that were cut for their size (``split -b 40G - NAME.part``) as the one file that they are.

``NAME.part00``, ``NAME.part01`` … or ``NAME.partaa`` … of one folder are ``parts://FOLDER/NAME``: a part of a
packed file says nothing without those before it.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from steel_megatron.config import DataError

PROTOCOL = "parts"
_PART = re.compile(r"(?P<whole>.+)\.part[-_]?(?P<number>\d{1,5}|[a-z]{1,3})")


def joined(files: Iterable[str]) -> list[str]:
    """The files, with one location for several parts of a file, at the place of the first."""
    files = list(files)
    groups: dict[str, list[str]] = defaultdict(list)
    for file in files:
        if part := _PART.fullmatch(file):
            groups[part["whole"]].append(file)
    first = {parts[0]: whole for whole, parts in groups.items() if len(parts) > 1}
    others = {part for parts in groups.values() if len(parts) > 1 for part in parts[1:]}
    return [f"{PROTOCOL}://{first[file]}" if file in first else file for file in files if file not in others]


def path_of(file: str) -> str:
    """The path of the whole file, which has none of its own, or the path as it is."""
    return file.removeprefix(f"{PROTOCOL}://")


def parts_of(whole: str) -> list[str]:
    """The parts of a file in the order of their numbers: part10 comes behind part9, and partaa behind partz."""
    folder, name = os.path.split(whole)
    found = []
    for path in Path(folder).iterdir() if os.path.isdir(folder or ".") else ():
        part = _PART.fullmatch(path.name)
        if part and part["whole"] == name:
            found.append((_rank(part["number"]), path.as_posix()))
    return [path for _, path in sorted(found)]


def checked_parts(whole: str) -> list[str]:
    """As :func:`parts_of`.

    Raises:
        DataError: the first part is missing, or one between two others.
    """
    parts = parts_of(whole)
    numbers = [part["number"] for part in map(_PART.fullmatch, parts) if part]
    begins = not numbers or set(numbers[0]) == {"a"} or numbers[0].strip("0") in ("", "1")
    ranks = list(map(_rank, numbers))
    before = [ranks[0] - begins, *ranks[:-1]] if ranks else []
    for previous, rank, path in zip(before, ranks, parts, strict=True):
        if rank != previous + 1:
            raise DataError(
                f"{whole}: what comes before {path} is missing",
                rule="a file that was cut is read when all its parts are there",
                fix="download or copy the missing part",
            )
    return parts


def _rank(number: str) -> int:
    """Numbers as they are; letters as digits of base 26, where those of more letters follow (z, then aa)."""
    if number.isdigit():
        return int(number)
    rank = 0
    for letter in number:
        rank = rank * 26 + ord(letter) - ord("a") + 1
    return rank
