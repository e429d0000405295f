"""The files that ``--input`` names, and what they are called in ids."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from steel_megatron.config import DataError
from steel_megatron.jobs.files import filesystem, is_url
from steel_megatron.jobs.unpack import PACKED_SUFFIXES

# What our own commands leave beside their outputs; never an input unless named.
MANIFEST, REJECTS = ".manifest.json", ".rejects.jsonl"
OURS = (MANIFEST, REJECTS, ".report.json", ".drops.jsonl.zst")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst")
_SPECIAL = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Input:
    """A file and its name in ids.

    Args:
        location: its path or URL.
        name: the path below the folder that was given, with ``/`` on every system.
        searched: found in a folder, not named: one that is no corpus file is passed over.
    """

    location: str
    name: str
    searched: bool


def find_inputs(
    patterns: Iterable[str | os.PathLike[str]], suffixes: Sequence[str] = (), archives: bool = False
) -> list[Input]:
    """Files, folders and glob patterns, also as URLs, in the order given; those of a folder or glob sorted; each once.

    Args:
        suffixes: endings of the files taken from a folder, also with ``.gz`` or ``.zst``; none: all but hidden ones.
        archives: zip and tar archives are taken too.

    Raises:
        DataError: a pattern names nothing.
    """
    found: dict[str, Input] = {}
    for given in patterns:
        pattern = os.fspath(given)
        is_folder, root, files = _remote(pattern) if is_url(pattern) else _local(pattern)
        if is_folder:
            files = [file for file in files if is_data_name(file[len(root) :].lstrip("/"), suffixes, archives)]
        if not files:
            raise DataError(
                f"no input file at {given}",
                rule=f"a folder holds files that end in {', '.join(suffixes)}, also with .gz or .zst"
                if is_folder and suffixes
                else "it is a file, a folder, or a pattern that matches files",
                fix="check the path given to --input",
            )
        for file in files:
            key = file if is_url(file) else str(Path(file).resolve())
            found.setdefault(key, Input(file, file[len(root) :].lstrip("/"), is_folder))
    return _with_unique_names(found)


def _local(pattern: str) -> tuple[bool, str, list[str]]:
    """Whether it is a folder, the folder that names are below, and the files sorted, all with ``/``."""
    path = Path(pattern)
    if path.is_dir():
        root, files = path, data_files(path.rglob("*"))
    elif path.exists():
        root, files = path.parent, [path]
    else:
        parts = path.parts
        special = next((i for i, part in enumerate(parts) if _SPECIAL.search(part)), len(parts) - 1)
        root, files = Path(*parts[:special]), data_files(map(Path, glob.glob(pattern, recursive=True)))
    below = root.as_posix() if root != Path() else ""
    return path.is_dir(), below, [file.as_posix() for file in files]


def _remote(pattern: str) -> tuple[bool, str, list[str]]:
    """As :func:`_local`, of a URL."""
    files, path = filesystem(pattern)
    try:
        if files.isfile(path):
            root, names, is_folder = str(PurePosixPath(path).parent), [path], False
        elif _SPECIAL.search(path):
            parts = path.split("/")
            root = "/".join(parts[: next(i for i, part in enumerate(parts) if _SPECIAL.search(part))])
            names, is_folder = [name for name in files.glob(path) if files.isfile(name)], False
        else:
            root, names, is_folder = path.rstrip("/"), list(files.find(path)) if files.exists(path) else [], True
    except OSError as error:
        raise DataError(f"cannot read {pattern}: {error.strerror or error}") from None
    if not is_folder and names != [path]:
        names = [name for name in names if not name.endswith(OURS)]
    return is_folder, str(files.unstrip_protocol(root)), [str(files.unstrip_protocol(name)) for name in sorted(names)]


def is_data_name(name: str, suffixes: Sequence[str] = (), archives: bool = False) -> bool:
    """Whether a file of this name in a folder or archive may be an input."""
    parts = PurePosixPath(name).parts
    if any(part.startswith(".") or part == "__MACOSX" for part in parts) or name.endswith(OURS):
        return False
    endings = tuple(suffix + packed for suffix in suffixes for packed in ("", *PACKED_SUFFIXES))
    return not suffixes or name.endswith(endings) or (archives and name.endswith(ARCHIVE_SUFFIXES))


def data_files(found: Iterable[Path]) -> list[Path]:
    """The files, sorted, without manifests and rejects, which nobody means by a folder or a pattern."""
    return sorted(file for file in found if not file.name.endswith(OURS) and file.is_file())


def _with_unique_names(found: dict[str, Input]) -> list[Input]:
    """Names below the folder that all files share, where the shorter names are not unique."""
    inputs = list(found.values())
    if len({file.name for file in inputs}) == len(inputs):
        return inputs
    if any(is_url(key) for key in found):  # nothing is shared by paths and URLs
        return [replace(file, name=key.partition("://")[2].lstrip("/")) for key, file in found.items()]
    root = os.path.commonpath([os.path.dirname(key) for key in found])
    return [replace(file, name=Path(key).relative_to(root).as_posix()) for key, file in found.items()]
