"""Files that take their names when they are whole, and that survive a power cut."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from steel_megatron.config.errors import DataError
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.progress import Progress

PARTIAL = ".partial"  # ends the name of what is not whole yet
COPY_BYTES = 8 << 20


def sync(path: Path) -> None:
    """Waits until the disk has a file's bytes, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_of(path: Path) -> Path:
    """The name that a file has until it is whole."""
    return path.with_name(path.name + PARTIAL)


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write under another name; when the block ends it is brought to the disk and takes its own.

    When the block fails, what was there before is as it was.
    """
    with _written(partial_of(path)) as file:
        yield file
    try:
        os.replace(partial_of(path), path)
    except OSError:  # a folder stands there
        partial_of(path).unlink(missing_ok=True)
        raise


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, on the disk when the block ends; gone when it fails."""
    try:
        with open(path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a file in one step. Half surrogates, of file names that are no UTF-8, are written as escapes."""
    with whole(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Writes a JSON file in one step."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=indent) + "\n")


def join(
    pieces: Iterable[Path], joined: IO[bytes], name: str = "", on_block: Callable[[int], Any] = lambda count: None
) -> FileRecord:
    """Writes files one behind the other; returns size and hash of all under a name.

    Args:
        on_block: called with counts of bytes.
    """
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        with open(piece, "rb") as file:
            while block := file.read(COPY_BYTES):
                digest.update(block)
                joined.write(block)
                size += len(block)
                on_block(len(block))
    return FileRecord(name, size, digest.hexdigest())


def give_name(source: Path, path: Path) -> None:
    """Gives a file one more name, without copying where the file system can; the disk has it afterwards."""
    partial_of(path).unlink(missing_ok=True)
    try:
        os.link(source, partial_of(path))
    except OSError:
        shutil.copyfile(source, partial_of(path))
    sync(partial_of(path))
    os.replace(partial_of(path), path)


def copy_to(source: Path, target: IO[bytes], offset: int) -> None:
    """Copies a file to a place in another one, inside the kernel where it can."""
    with open(source, "rb") as file:
        left, at = os.fstat(file.fileno()).st_size, 0
        in_kernel = getattr(os, "copy_file_range", None)  # of Linux
        target.flush()
        try:
            while in_kernel and left and (count := in_kernel(file.fileno(), target.fileno(), left, at, offset + at)):
                left, at = left - count, at + count
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        if left:
            file.seek(at)
            target.seek(offset + at)
            shutil.copyfileobj(file, target, COPY_BYTES)


class Outputs:
    """The files that bear one output's name, which take their names together.

    Args:
        target: the output.
        endings: of the names of all files, "" for the output itself; the last is written last, and says by being there
            that the others are whole.
    """

    def __init__(self, target: str | os.PathLike[str], endings: Sequence[str]) -> None:
        self.paths = {ending: beside(target, ending) for ending in endings}

    @contextmanager
    def writing(self, ending: str) -> Iterator[IO[bytes]]:
        """A file to write, on the disk when the block ends; gone when it fails."""
        with _written(partial_of(self.paths[ending])) as file:
            yield file

    def join(self, ending: str, pieces: Iterable[Path]) -> FileRecord:
        """A file of others one behind the other."""
        paths = list(pieces)
        with (
            self.writing(ending) as file,
            Progress("join parts", sum(path.stat().st_size for path in paths)) as progress,
        ):
            return join(paths, file, self.paths[ending].name, progress.add)

    def write_json(self, ending: str, content: Any) -> None:
        self.write_text(ending, json.dumps(content, ensure_ascii=False, indent=2))

    def write_text(self, ending: str, text: str) -> None:
        with self.writing(ending) as file:
            file.write((text + "\n").encode("utf-8", "backslashreplace"))

    def discard(self, ending: str) -> None:
        """Takes away what was written for an ending."""
        _remove(partial_of(self.paths[ending]))

    def publish(self) -> None:
        """Names what was written; what an earlier run left in the place of the others goes."""
        *others, last = self.paths.values()
        last.unlink(missing_ok=True)
        for path in (*others, last):
            written = partial_of(path)
            if path.is_dir() or not written.exists():
                _remove(path)
            if written.exists():
                os.replace(written, path)
        sync(last.absolute().parent)


def _remove(path: Path) -> None:
    """Takes away a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def beside(output: str | os.PathLike[str], ending: str) -> Path:
    """The file of an output that bears its name and an ending."""
    return Path(os.fspath(output) + ending)


def refuse_other(output: str | os.PathLike[str], difference: str = "", flag: str = "--output") -> NoReturn:
    """
    Raises:
        DataError: something else is where an output is to be.
    """
    raise DataError(
        f"{os.fspath(output)} is there already" + (f", and {difference}" if difference else ""),
        rule="data is not replaced unasked",
        fix=f"use another {flag}, or --overwrite to replace it",
    )
