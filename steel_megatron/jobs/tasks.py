"""Work done whole or not at all, task by task, in a folder that a stopped run leaves and the next one goes on in.

A task's files take their names when they are written, its mark last. Nothing waits for the disk: the mark holds sizes
and hashes, by which a run after a power cut sees what the disk never got, and does it again.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron.config.errors import DataError
from steel_megatron.config.os_errors import complete, explained
from steel_megatron.jobs.durable import PARTIAL
from steel_megatron.jobs.hashes import xxh3_of
from steel_megatron.jobs.locks import locked

LOCK = "lock"  # in the work folder
_FILES, _BOOT = "_files", "_boot"


@dataclass(frozen=True)
class Task:
    """The files of one task: ``stem`` with each of the suffixes, and with ``mark``.

    Args:
        files_go: later tasks remove files of this one, so a file that is not there was there.
    """

    stem: Path
    suffixes: tuple[str, ...]
    mark: str = ".done"
    files_go: bool = False

    def file(self, suffix: str) -> Path:
        return self.stem.with_name(self.stem.name + suffix)

    def marked(self) -> dict[str, Any] | None:
        """The counts of the finished task; None where there is no mark that can be read."""
        content = self._content()
        return None if content is None else _counts(content)

    def _content(self) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads(self.file(self.mark).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return content

    def done(self) -> dict[str, Any] | None:
        """As :meth:`marked`; None also where a file is not as the mark says."""
        content = self._content()
        if content is None:
            return None
        # Marks of version 0.1.0 name no files: each was on the disk before its mark was.
        recorded = content.get(_FILES, {})
        same_boot = content.get(_BOOT) == _boot()
        suffixes = dict.fromkeys([*self.suffixes, *recorded])
        whole = (self._is_whole(suffix, recorded.get(suffix), same_boot) for suffix in suffixes)
        return _counts(content) if all(whole) else None

    def since_start(self) -> bool:
        """Whether the task was marked since this machine was started: then what it wrote is there."""
        return (self._content() or {}).get(_BOOT) == _boot()

    def _finish(self, paths: list[Path], counts: Mapping[str, Any]) -> None:
        """Gives the files their names, and marks the task as done."""
        records = {}
        for suffix, path in zip(self.suffixes, paths, strict=True):
            records[suffix] = [path.stat().st_size, xxh3_of(path)]
            os.replace(path, self.file(suffix))
        content = json.dumps({**counts, _FILES: records, _BOOT: _boot()}, ensure_ascii=False)
        partial = self.file(f"{self.mark}.{secrets.token_hex(4)}{PARTIAL}")
        partial.write_bytes(content.encode("utf-8", "backslashreplace"))
        os.replace(partial, self.file(self.mark))

    @contextmanager
    def attempt(self) -> Iterator[tuple[list[Path], dict[str, Any]]]:
        """Paths to write the files to, and the counts to be filled; then the task is done. A failed one leaves nothing.

        The paths are of this attempt alone: one of a killed run may still be going on.
        """
        token = f".{secrets.token_hex(4)}{PARTIAL}"
        paths = [self.file(suffix + token) for suffix in self.suffixes]
        counts: dict[str, Any] = {}
        try:
            yield paths, counts
        except BaseException:
            for path in paths:
                path.unlink(missing_ok=True)
            raise
        self._finish(paths, counts)

    def _is_whole(self, suffix: str, record: list[Any] | None, same_boot: bool) -> bool:
        path = self.file(suffix)
        if not path.is_file():
            return self.files_go
        if record is None:
            return True
        return path.stat().st_size == record[0] and (same_boot or xxh3_of(path) == record[1])


def _counts(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in (_FILES, _BOOT)}


def _boot() -> str:
    """Differs after each start of the machine: until then what was written is there, on the disk or not yet."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(8)


@contextmanager
def work_folder(folder: Path, target: str | os.PathLike[str]) -> Iterator[Path]:
    """The folder of a run's tasks, in which one run at a time works. It stays when the run ends before its work.

    Args:
        target: what the run writes, for errors.

    Raises:
        DataError: another run is at work there, or the disk is full or fails.
    """
    with disk_errors(target), locked(folder / LOCK, target):
        for left in list(folder.rglob(f"*{PARTIAL}")):  # of tasks that were killed
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)
        try:
            yield folder
        finally:
            if folder.is_dir() and [path.name for path in folder.iterdir()] == [LOCK]:
                shutil.rmtree(folder)


def clear(folder: Path) -> None:
    """Takes away all files of a work folder but its lock; folders are in use."""
    for path in folder.iterdir():
        if path.name != LOCK and not path.is_dir():
            path.unlink()


@contextmanager
def writing_dataset(prefix: str | os.PathLike[str]) -> Iterator[None]:
    """One run at a time writes the files of a prefix, whose folder is there afterwards.

    Raises:
        DataError: another run is at work there, or the disk is full or fails.
    """
    lock = Path(f"{os.fspath(prefix)}.lock{PARTIAL}")
    with disk_errors(prefix), locked(lock, prefix, remove=True):
        yield


@contextmanager
def disk_errors(target: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the disk says while a target is written into an error that says what is kept.

    Raises:
        DataError: the disk is full or fails.
    """
    try:
        yield
    except DataError as error:
        complete(error)  # the compiled writer of datasets hands on the system's words alone
        raise
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        # numpy tells no number where the disk takes less than it was given.
        words = explained(error if error.errno else OSError(errno.ENOSPC, str(error)))
        raise DataError(
            f"{os.fspath(target)} could not be written: {words.given}",
            rule=words.rule,
            fix=f"{words.fix}; then give the command again: it goes on with what is done",
        ) from error
