"""The files that ``--input`` names, and what they are called in ids."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from steel_megatron.config import DataError
from steel_megatron.corpus.unpack import PACKED_SUFFIXES

# What our own commands leave beside their outputs; never an input unless named.
MANIFEST, REJECTS = ".manifest.json", ".rejects.jsonl"


@dataclass(frozen=True)
class Input:
    """A file and its name in ids: the path below the folder that was given, with ``/`` on every system."""

    path: Path
    name: str
    searched: bool  # found in a folder, not named: one that is no corpus file is passed over


def find_inputs(patterns: Iterable[str | os.PathLike[str]], suffixes: Sequence[str] = ()) -> list[Input]:
    """Files, folders and glob patterns, in the order given; those of a folder or glob sorted; each file once.

    Args:
        suffixes: endings of the files taken from a folder, also with ``.gz`` or ``.zst``; none: all but
            hidden ones.

    Raises:
        DataError: a pattern names nothing.
    """
    endings = tuple(suffix + packed for suffix in suffixes for packed in ("", *PACKED_SUFFIXES))
    found: dict[Path, Input] = {}
    for given in patterns:
        path = Path(given)
        if path.is_dir():
            root, files, searched = path, _below(path, endings), True
        elif path.exists():
            root, files, searched = path.parent, [path], False
        else:
            root, searched = _fixed_part(os.fspath(given)), False
            files = data_files(map(Path, glob.glob(os.fspath(given), recursive=True)))
        if not files:
            raise DataError(
                f"no input file at {given}",
                rule=f"a folder holds files that end in {', '.join(suffixes)}, also with .gz or .zst"
                if path.is_dir() and suffixes
                else "it is a file, a folder, or a pattern that matches files",
                fix="check the path given to --input",
            )
        for file in files:
            found.setdefault(file.resolve(), Input(file, file.relative_to(root).as_posix(), searched))
    return _with_unique_names(list(found.values()))


def _below(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    files = (file for file in data_files(folder.rglob("*")) if not endings or file.name.endswith(endings))
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def data_files(found: Iterable[Path]) -> list[Path]:
    """The files, sorted, without manifests and rejects, which nobody means by a folder or a pattern."""
    return sorted(file for file in found if not file.name.endswith((MANIFEST, REJECTS)) and file.is_file())


def _fixed_part(pattern: str) -> Path:
    """The folders of a glob pattern before the first special character."""
    parts = Path(pattern).parts
    special = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return Path(*parts[:special])


def _with_unique_names(inputs: list[Input]) -> list[Input]:
    """Names below the folder that all files share, where the shorter names are not unique."""
    if len({file.name for file in inputs}) == len(inputs):
        return inputs
    root = os.path.commonpath([file.path.resolve().parent for file in inputs])
    return [Input(file.path, file.path.resolve().relative_to(root).as_posix(), file.searched) for file in inputs]
