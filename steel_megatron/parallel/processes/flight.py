"""NCCL's flight recorder: which collectives of this process have not ended, as torch has recorded them.

torch writes its record into a file when a line is written to a named pipe, both named by environment variables that are
documented for ProcessGroupNCCL; a torch without a recorder makes no pipe. Asked only when a run has stalled. No GPU has
run this: it is tested with a record made up from torch's documentation.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

FILE, PIPE = "TORCH_NCCL_DEBUG_INFO_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_PIPE_FILE"  # torch adds the rank, and .pipe
SWITCHES = {"TORCH_NCCL_TRACE_BUFFER_SIZE": "2000", "TORCH_NCCL_DUMP_ON_TIMEOUT": "1"}
PATIENCE = 5.0  # seconds for torch to write; it looks at the pipe once a second
ENDED = "completed"


def switch_on(environment: MutableMapping[str, str]) -> None:
    """Has torch record, before groups are made; what the user has set stays."""
    for name, value in SWITCHES.items():
        environment.setdefault(name, value)
    if FILE not in environment and PIPE not in environment:
        folder = Path(tempfile.gettempdir()) / f"steel_nccl_{os.getuid()}"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            environment[FILE] = environment[PIPE] = f"{folder}/{os.getpid()}_rank_"


def unfinished(rank: int) -> str:
    """The first collective of each group that has not ended, in words; empty where torch says nothing."""
    if FILE not in os.environ or PIPE not in os.environ:
        return ""
    record = Path(f"{os.environ[FILE]}{rank}")
    with contextlib.suppress(OSError):
        record.unlink(missing_ok=True)
        pipe = os.open(f"{os.environ[PIPE]}{rank}.pipe", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, b"1\n")
        finally:
            os.close(pipe)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):  # not there yet, or not whole
                return in_words(pickle.loads(record.read_bytes()))
            time.sleep(0.1)
    return ""


def in_words(record: dict[str, Any]) -> str:
    """As ``nccl:all_reduce number 345 of group 2 (dp), started``; one for each group."""
    first: dict[str, str] = {}
    for entry in record.get("entries", ()):
        name, what = (*entry.get("process_group", ("?",)), "")[:2]
        group = f"{name} ({what})" if what and what != "undefined" else name
        if entry.get("state") != ENDED and group not in first:
            number = entry.get("collective_seq_id", "?")
            first[group] = f"{entry.get('profiling_name', '?')} number {number} of group {group}, {entry.get('state')}"
    return "; ".join(first.values())
