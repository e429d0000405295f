"""The files that ``--input`` names, and what they are called in ids: one search for all commands."""

from __future__ import annotations

import glob
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from steel_megatron.config.errors import DataError
from steel_megatron.config.texts import some
from steel_megatron.jobs.files import filesystem, is_url, open_file
from steel_megatron.jobs.never_data import DATASETS, MANIFEST, MOST_WITNESS_BYTES, OURS, why_never
from steel_megatron.jobs.shards import check_shards
from steel_megatron.jobs.split_files import joined, path_of
from steel_megatron.jobs.suspects import suspicion
from steel_megatron.jobs.unpack import PACKED_SUFFIXES, PACKING_ERRORS, UNREAD_SUFFIXES, refuse_unread, unpacked

log = logging.getLogger(__name__)

JSON_LINES = (".jsonl", ".json", ".ndjson")
ARCHIVE_SUFFIXES = (".zip", ".tgz", ".tar", *(".tar" + packed for packed in PACKED_SUFFIXES))
CYCLE, BROKEN_LINK = "folder linked into itself", "link that leads nowhere"
# Of what is passed over, that which a user would want to mend, and how.
_MENDED = {
    CYCLE: "it is read once",
    BROKEN_LINK: "mend or remove it",
    **dict.fromkeys(UNREAD_SUFFIXES, "unpack it first"),
    **dict.fromkeys(ARCHIVE_SUFFIXES, "steel convert reads archives"),
}
_SPECIAL = re.compile(r"[*?\[]")
_LOOK_BYTES = 4096  # of each file


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


@dataclass
class Found:
    """The files of a search in their order, and by reason the names of those that were met and are not read."""

    files: list[Input] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)

    def leave(self, reason: str, name: str) -> None:
        self.left.setdefault(reason, []).append(name)

    def tell(self, lines_only: bool = True) -> dict[str, str]:
        """Says in a line or two what is read and what is not; what a user must mend, as a warning.

        Returns the files whose names say JSON lines and whose contents do not, and what they are.

        Args:
            lines_only: the command reads JSON lines alone, not what else ``steel convert`` reads.
        """
        kinds = Counter(ending(file.name) for file in self.files)
        packed = ", unpacked as they are read" if any(kind.endswith(PACKED_SUFFIXES) for kind in kinds) else ""
        log.info("input: %s (%s)%s", _files(len(self.files)), _counts(kinds), packed)
        if ours := self.left.get(OURS):
            log.info("input: no data but written by our commands, %s: %s", _files(len(ours)), some(ours))
        others = {reason: names for reason, names in self.left.items() if reason != OURS}
        if others:
            counts = _counts({reason: len(names) for reason, names in others.items()})
            log.info("input: passed over %s", counts)
        for reason, names in others.items():
            if reason in _MENDED:
                log.warning("input: not read, %s (%s): %s", reason, _MENDED[reason], some(names))
        return self._suspects(lines_only)

    def _suspects(self, lines_only: bool) -> dict[str, str]:
        found: dict[str, str] = {}
        for file in self.files:
            if _ends_well(file.name, JSON_LINES, archives=False) and (what := _suspicion(file.location, lines_only)):
                found[file.name] = what
                log.warning("input: %s %s", file.location, what)
        return found


def _suspicion(location: str, lines_only: bool) -> str:
    """What a file that is named like JSON lines is instead; empty where nothing is odd, or only reading will tell."""
    try:
        if not is_url(location) and not stat.S_ISREG(os.stat(location).st_mode):
            return ""
        with open_file(location) as file:
            block = file.read(_LOOK_BYTES)
        head = next(unpacked(iter([block])), b"")
        # An output of ours may hold no document: packed, or with its manifest beside it.
        return "" if not head and (block or os.path.exists(location + MANIFEST)) else suspicion(head, lines_only)
    except (OSError, *PACKING_ERRORS):
        return ""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


def _files(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"


def find_inputs(
    patterns: Iterable[str | os.PathLike[str]],
    suffixes: Sequence[str] = (),
    archives: bool = False,
    output: str | os.PathLike[str] | None = None,
) -> Found:
    """Files, folders and glob patterns, also as URLs, in the order given; those of a folder or glob sorted; each once.

    Links to folders are followed. What our own commands leave is never an input unless named.

    Args:
        suffixes: endings of the files taken from a folder, also packed; none: all but hidden ones.
        archives: zip and tar archives are taken too.
        output: of the run that asks, a file or a folder: what it has written there before is no input.

    Raises:
        DataError: a pattern names nothing, a folder cannot be read, or lacks shards that its manifest names.
    """
    found = Found()
    by_place: dict[str, Input] = {}
    own = "" if output is None else os.path.join(os.path.realpath(output), "")
    for given in patterns:
        pattern = os.fspath(given)
        search = _Remote(pattern) if is_url(pattern) else _Local(pattern)
        if isinstance(search, _Local) and search.named:
            refuse_unread(pattern)
        if isinstance(search, _Local) and search.is_folder:
            check_shards(search.path)
        files = []
        for file in search.files():
            reason = "" if search.named else _why_left(search, file, suffixes, archives)
            if own and not search.named and (search.place(file) + os.sep).startswith(own):
                reason = OURS
            if reason:
                found.leave(reason, search.name(file))
            else:
                files.append(file)
        for reason, names in search.left.items():
            found.left.setdefault(reason, []).extend(names)
        if not files:
            rule = "it is a file, a folder, or a pattern that matches files"
            if search.is_folder and suffixes:
                rule = f"a folder holds files that end in {', '.join(suffixes)}, also with {_or(PACKED_SUFFIXES)}"
            unread = [f"{reason}: {_MENDED[reason]}" for reason in found.left if reason in _MENDED]
            left = _counts({reason: len(names) for reason, names in found.left.items()})
            raise DataError(
                f"no input file at {given}" + (f", only {left}" if left else ""),
                rule=rule,
                fix="; ".join(unread) or "check the path given to --input",
            )
        for file in files:
            by_place.setdefault(search.place(file), Input(file, search.name(file), search.is_folder))
    found.files = _with_unique_names(by_place)
    return found


def is_data_name(name: str, suffixes: Sequence[str] = (), archives: bool = False) -> bool:
    """Whether a file of this name in a folder or archive may be an input."""
    return not why_never(name) and _ends_well(name, suffixes, archives)


def ending(name: str) -> str:
    """The ending of a name with that of its packing, as ``.jsonl.zst``; of one without, the name."""
    packing = next((packed for packed in PACKED_SUFFIXES if name.endswith(packed)), "")
    kind = PurePosixPath(name.removesuffix(packing)).suffix
    return kind + packing or PurePosixPath(name).name


def without_ending(name: str, suffixes: Sequence[str]) -> str:
    """The name without its packing's ending and without one of the suffixes."""
    for known in (*PACKED_SUFFIXES, *suffixes):
        name = name.removesuffix(known)
    return name


def _ends_well(name: str, suffixes: Sequence[str], archives: bool) -> bool:
    endings = tuple(suffix + packed for suffix in suffixes for packed in ("", *PACKED_SUFFIXES))
    return not suffixes or name.endswith(endings) or (archives and name.endswith(ARCHIVE_SUFFIXES))


def _why_left(search: _Local | _Remote, file: str, suffixes: Sequence[str], archives: bool) -> str:
    """The reason why a file that was met is no input; empty where it is one."""
    name = search.name(file)
    reason = why_never(name, search.read)
    if not search.is_folder:
        return reason if reason in (OURS, DATASETS) else ""
    unread = name.endswith(UNREAD_SUFFIXES) or not _ends_well(name, suffixes, archives)
    return reason or (ending(name) if unread else "")


class _Local:
    """A path or pattern of this machine; its files have ``/`` on every system."""

    def __init__(self, pattern: str) -> None:
        path = Path(pattern)
        self.pattern, self.path = pattern, path
        self.is_folder, self.named = path.is_dir(), path.exists() and not path.is_dir()
        self.left: dict[str, list[str]] = {}
        if self.is_folder:
            root = path
        elif self.named:
            root = path.parent
        else:
            parts = path.parts
            special = next((i for i, part in enumerate(parts) if _SPECIAL.search(part)), len(parts) - 1)
            root = Path(*parts[:special])
        self.root = root.as_posix() if root != Path() else ""

    def files(self) -> list[str]:
        if self.named:
            return [self.path.as_posix()]
        if self.is_folder:
            return joined(path.as_posix() for path in sorted(self._below()))
        matches = sorted(map(Path, glob.glob(self.pattern, recursive=True)))
        return joined(path.as_posix() for path in matches if path.is_file())

    def name(self, file: str) -> str:
        return path_of(file)[len(self.root) :].lstrip("/")

    def place(self, file: str) -> str:
        """What is the same for all names of one file."""
        return str(Path(path_of(file)).resolve())

    def read(self, name: str) -> bytes | None:
        path = Path(self.root, name)
        return path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_WITNESS_BYTES else None

    def _below(self) -> Iterator[Path]:
        """The files of a folder. Those that two paths lead to are met by the one without a link to a folder."""
        walked: set[str] = set()
        linked: list[Path] = []
        yield from self._walk(self.path, walked, linked)
        while linked:
            folder = linked.pop(0)
            place, above = os.path.realpath(folder), os.path.realpath(folder.parent)
            parents = {os.path.realpath(parent) for parent in folder.parents if parent.is_relative_to(self.path)}
            if place in parents or os.path.commonpath([place, above]) == place:
                self._leave(CYCLE, folder)
            elif place not in walked:
                yield from self._walk(folder, walked, linked)

    def _walk(self, top: Path, walked: set[str], linked: list[Path]) -> Iterator[Path]:
        def refuse(error: OSError) -> None:
            raise DataError(
                f"cannot read the folder {error.filename}: {error.strerror}",
                rule="every folder below an input is read",
                fix="mend its permissions, or give the others one by one",
            )

        for place, folders, files in os.walk(top, onerror=refuse):
            walked.add(os.path.realpath(place))
            kept = []
            for folder in sorted(folders):
                path = Path(place, folder)
                if reason := why_never(self.name(path.as_posix()) + "/"):
                    self._leave(reason, path)
                elif path.is_symlink():
                    linked.append(path)
                elif os.path.realpath(path) not in walked:
                    kept.append(folder)
            folders[:] = kept
            for file in files:
                path = Path(place, file)
                if path.is_file():
                    yield path
                elif path.is_symlink():
                    self._leave(BROKEN_LINK, path)

    def _leave(self, reason: str, path: Path) -> None:
        self.left.setdefault(reason, []).append(self.name(path.as_posix()))


class _Remote:
    """As :class:`_Local`, of a URL."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.filesystem, path = filesystem(pattern)
        self.left: dict[str, list[str]] = {}
        try:
            self.named, self.is_folder = bool(self.filesystem.isfile(path)), False
            if self.named:
                root, names = str(PurePosixPath(path).parent), [path]
            elif _SPECIAL.search(path):
                parts = path.split("/")
                root = "/".join(parts[: next(i for i, part in enumerate(parts) if _SPECIAL.search(part))])
                names = [name for name in self.filesystem.glob(path) if self.filesystem.isfile(name)]
            else:
                there = self.filesystem.exists(path)
                root, names, self.is_folder = path.rstrip("/"), list(self.filesystem.find(path)) if there else [], True
        except OSError as error:
            raise DataError(f"cannot read {pattern}: {error.strerror or error}") from None
        self.root = str(self.filesystem.unstrip_protocol(root))
        self._names = sorted(names)

    def files(self) -> list[str]:
        return [str(self.filesystem.unstrip_protocol(name)) for name in self._names]

    def name(self, file: str) -> str:
        return file[len(self.root) :].lstrip("/")

    def place(self, file: str) -> str:
        return file

    def read(self, name: str) -> bytes | None:
        path = self.root + "/" + name
        small = self.filesystem.exists(path) and self.filesystem.size(path) <= MOST_WITNESS_BYTES
        return bytes(self.filesystem.cat_file(path)) if small else None


def _with_unique_names(found: dict[str, Input]) -> list[Input]:
    """Names below the folder that all files share, where the shorter names are not unique."""
    inputs = list(found.values())
    if len({file.name for file in inputs}) == len(inputs):
        return inputs
    if any(is_url(key) for key in found):  # nothing is shared by paths and URLs
        return [replace(file, name=key.partition("://")[2].lstrip("/")) for key, file in found.items()]
    root = os.path.commonpath([os.path.dirname(key) for key in found])
    return [replace(file, name=Path(key).relative_to(root).as_posix()) for key, file in found.items()]


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]])
