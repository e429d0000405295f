"""The files that ``NAME=…`` names, and the paths of their outputs. They lie on this machine or a mounted one."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from steel_megatron.config import DataError

PACKED = ("", ".gz", ".zst")
# What commands leave beside their outputs: never meant by a folder or pattern.
ASIDE = (
    "manifest.json",
    "rejects.jsonl",
    "rejects.jsonl.zst",
    "report.json",
    "duplicates.jsonl.zst",
    "drops.jsonl.zst",
)


def find_files(pattern: str, suffixes: Sequence[str]) -> list[tuple[Path, str]]:
    """The files of a path, folder or glob pattern, sorted, and their names below the folder that was given.

    Args:
        suffixes: endings of the files taken from a folder, also with ``.gz`` or ``.zst``.

    Raises:
        DataError: it names nothing.
    """
    path = Path(pattern)
    if path.is_file():
        return [(path.resolve(), path.name)]
    endings = tuple(suffix + packed for suffix in suffixes for packed in PACKED)
    if path.is_dir():
        root, found = path, [file for file in path.rglob("*") if file.name.endswith(endings)]
    else:
        root, found = _fixed_part(path), [Path(file) for file in glob.glob(pattern, recursive=True)]
    named = [(file, file.relative_to(root)) for file in sorted(found) if file.is_file()]
    kept = [
        (file.resolve(), name.as_posix())
        for file, name in named
        if not file.name.endswith(ASIDE) and not any(part.startswith(".") for part in name.parts)
    ]
    if not kept:
        raise DataError(
            f"no file at {pattern}",
            rule=f"it is a file, a folder of files that end in {', '.join(endings)}, or a pattern that matches files",
            fix="check the path",
        )
    return kept


def _fixed_part(pattern: Path) -> Path:
    """The folders of a glob pattern before the first special character."""
    parts = pattern.parts
    special = next((at for at, part in enumerate(parts) if any(c in part for c in "*?[")), len(parts) - 1)
    return Path(*parts[:special])


def stem(name: str, suffixes: Sequence[str]) -> str:
    """The name without its endings."""
    for ending in (".zst", ".gz", *suffixes):
        name = name.removesuffix(ending)
    return name
