"""What torchrun cannot mend by starting a run again: a wrong flag, a missing file, a folder in use.

torchrun with ``--max-restarts`` starts the processes again whatever they failed of. An error that only the user can
mend is noted beside the files in which torchrun collects errors, one folder for each start of torchrun; processes that
find the note end at once, before they load anything, and say nothing again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # LOGS/RUN/attempt_N/LOCAL_RANK/error.json
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
NOTE = "not_mended_by_a_restart.json"

_started = False


def training_starts() -> None:
    """From here on a restart may help: it goes on from a checkpoint."""
    global _started
    _started = True


def note_final(environment: Mapping[str, str], record: str = "") -> None:
    """Notes that this start of torchrun fails however often it is repeated.

    An error of a later attempt is not final: the attempt before it may still hold what this one lacks.

    Args:
        record: what stands in torchrun's error file, for the summary at the end.
    """
    if _started or environment.get(RESTARTS, "0") != "0" or (note := _note(environment)) is None:
        return
    with contextlib.suppress(OSError):
        note.write_text(record, encoding="utf-8")


def failed_for_good(environment: Mapping[str, str]) -> bool:
    """Whether an earlier attempt noted that; its record is taken up, for torchrun shows that of the last attempt."""
    note = _note(environment)
    if note is None or not note.is_file():
        return False
    with contextlib.suppress(OSError):
        record = note.read_text(encoding="utf-8")
        if record:
            Path(environment[ERROR_FILE]).write_text(record, encoding="utf-8")
    return True


def error_record(environment: Mapping[str, str]) -> str:
    """What this process has written for torchrun's summary."""
    with contextlib.suppress(OSError):
        if file := environment.get(ERROR_FILE):
            return Path(file).read_text(encoding="utf-8")
    return ""


def _note(environment: Mapping[str, str]) -> Path | None:
    file = environment.get(ERROR_FILE, "")
    if not file or file == os.devnull or len(Path(file).parents) < 3:
        return None
    return Path(file).parents[2] / NOTE
