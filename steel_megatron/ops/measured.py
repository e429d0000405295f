"""The file in which ``steel doctor --measure`` leaves how long each implementation took on this machine.

One JSON object for every kind of device that was measured, so that a home folder can be shared by different machines:
``{device: {"torch": version, "date": day, "shape": words, "seconds": {operation: {backend: seconds}}}}``.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
from pathlib import Path
from typing import Any

import torch

FILE_VARIABLE = "STEEL_KERNEL_TIMES"  # names another file


def file() -> Path:
    """Where the times are."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "steel_megatron" / "kernel_times.json"


def device_name(device_type: str) -> str:
    """What times are valid for: the GPU, or the CPU's instruction set and the number of threads."""
    if device_type == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{device_type}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


@functools.cache
def times(device_type: str) -> dict[str, Any] | None:
    """What was measured on a device like this one with this torch; None if nothing was."""
    try:
        found = json.loads(file().read_text(encoding="utf-8"))[device_name(device_type)]
        return found if found["torch"] == torch.__version__ and found["seconds"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fastest_first(operation: str, device_type: str) -> list[str]:
    """Backends by their measured times; empty if the operation was not measured here."""
    found = times(device_type)
    seconds = {} if found is None else found["seconds"].get(operation, {})
    return sorted(seconds, key=seconds.__getitem__)


def write(device_type: str, shape: str, seconds: dict[str, dict[str, float]]) -> Path:
    """Keeps times for later runs, in place of earlier ones of the same device; returns the file."""
    path = file()
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    known[device_name(device_type)] = {"torch": torch.__version__, "date": day, "shape": shape, "seconds": seconds}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps(known, indent=1), encoding="utf-8")
    os.replace(part, path)
    times.cache_clear()
    return path
