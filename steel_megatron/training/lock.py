"""One run at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from steel_megatron.config import CheckpointError, StorageError


class FolderLock:
    """Holds ``FOLDER/.lock`` for the life of the process; the system frees it however the process ends."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - held until release()
        except OSError as error:
            raise StorageError(
                f"--save {folder} cannot be written: {error.strerror}"
                + (f" ({error.filename})" if error.filename else ""),
                rule="a run writes its checkpoints, configuration and numbers there",
                fix="give a --save that this user can write to and that is not mounted read-only",
            ) from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.seek(0)
            owner = self.file.read().strip() or "unknown"
            self.file.close()
            raise CheckpointError(
                f"{folder} is in use by process {owner}",
                rule="one run writes to a folder at a time",
                fix="wait for it, stop it, or give another --save",
            ) from error
        with contextlib.suppress(OSError):  # a full disk: who holds it is not said, but it is held
            self.file.truncate(0)
            self.file.write(str(os.getpid()))
            self.file.flush()

    def release(self) -> None:
        self.file.close()
