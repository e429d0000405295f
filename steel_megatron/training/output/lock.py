"""One run at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import IO

from steel_megatron.config import CheckpointError, StorageError
from steel_megatron.jobs.locks import take


def not_writable(folder: Path, error: OSError) -> StorageError:
    """What a run says of a folder that does not take its files."""
    path = error.filename2 or error.filename
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StorageError(
        f"--save {folder} cannot be written: {error.strerror}" + (f" ({path})" if path else ""),
        rule="a run writes its checkpoints, configuration and numbers there",
        fix="make room and give the same command again, or give another --save"
        if full
        else "give a --save that this user can write to and that is not mounted read-only",
    )


class FolderLock:
    """Holds ``FOLDER/.lock`` for the life of the process; the system frees it however the process ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = self._take()

    def renew(self) -> None:
        """Holds the folder again where it was removed and made anew; nothing where it was not.

        Raises:
            CheckpointError: another run has taken it meanwhile.
        """
        own = os.fstat(self.file.fileno())
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(own, os.stat(self.folder / ".lock")):
                return
        file = self._take()
        self.release()
        self.file = file

    def release(self) -> None:
        with contextlib.suppress(OSError):  # what a full disk did not take of the file
            self.file.close()

    def _take(self) -> IO[str]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - held until release()
        except OSError as error:
            raise not_writable(self.folder, error) from error
        if (owner := take(file, self.folder)) is not None:
            file.close()
            raise CheckpointError(
                f"{self.folder} is in use by process {owner or 'unknown'}",
                rule="one run writes to a folder at a time",
                fix="wait for it, stop it, or give another --save",
            )
        return file
