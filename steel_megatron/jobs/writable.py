"""Whether what is written at the end of long work can be written, found out before it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def check_file(path: Path) -> None:
    """Makes the folder of a file, and sees whether the file could be written; one that is there stays as it is.

    Raises:
        OSError: it could not.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    trial = path.with_name(f".{path.name}.trial{os.getpid()}")
    trial.touch()
    trial.unlink()


def check_folder(path: Path) -> None:
    """Sees whether files could be written to a folder; one that is not there is made and taken away again.

    Raises:
        OSError: they could not.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass
    for folder in made:
        folder.rmdir()
