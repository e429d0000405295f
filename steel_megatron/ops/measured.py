"""How long each implementation took on this machine, and which failed its self-test: the file in which that is kept.

One JSON object for every kind of device that was measured, so that a home folder can be shared by different machines:
``{device: {"versions": words, "date": day, "shape": words, "run": words, "seconds": {operation: {backend: seconds}},
"failed": {operation: {backend: why}}, "refused": {operation: {backend: why}}}}``; refused: it does not take
such tensors. What a run measured is of its own widths and type, and stands behind "device; widths" (``run``). A run
goes by times of its own widths, else by those of ``steel doctor --measure``, else by the latest of other runs.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import steel_megatron
from steel_megatron.jobs.durable import write_json

FILE_VARIABLE = "STEEL_KERNEL_TIMES"  # names another file
Results = dict[str, dict[str, Any]]  # by operation and backend
_in_memory: dict[str, dict[str, Any]] = {}
_run = ""  # widths and type of the run of this process


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


def versions() -> str:
    """The versions that times are valid for: of torch with its CUDA, and of this package."""
    return f"torch {torch.__version__}, CUDA {torch.version.cuda}, steel_megatron {steel_megatron.__version__}"


def for_run(widths: str) -> None:
    """Whose times are wanted from now on, in words; empty: those of ``steel doctor --measure``, or any."""
    global _run
    _run = widths
    times.cache_clear()


def of_this_run(device_type: str) -> bool:
    """Whether there are times that were measured for these widths, or by hand."""
    found = times(device_type)
    return found is not None and found.get("run", "") in ("", _run)


def record(shape: str, seconds: Results, failed: Results, refused: Results, run: str = "") -> dict[str, Any]:
    """What was measured with these versions, today; ``run``: for whose widths."""
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return {
        "versions": versions(),
        "date": day,
        "shape": shape,
        "run": run,
        "seconds": seconds,
        "failed": failed,
        "refused": refused,
    }


@functools.cache
def times(device_type: str) -> dict[str, Any] | None:
    """What was measured on a device like this one with these versions; None if nothing was."""
    found = [_in_memory.get(device_type)]
    if found == [None]:
        if not (known := _kept()):
            return None
        name = device_name(device_type)
        others = [key for key in reversed(known) if key.startswith(f"{name}; ")]
        found = [known.get(key) for key in (f"{name}; {_run}", name, *others)]
    return next((record for record in found if _counts(record)), None)


def fastest_first(operation: str, device_type: str) -> list[str]:
    """Backends by their measured times; empty if the operation was not measured here."""
    seconds = _of(operation, device_type, "seconds")
    return sorted(seconds, key=seconds.__getitem__)


def failed(operation: str, device_type: str) -> dict[str, str]:
    """Backends that did not pass their self-test on a device like this one, and why."""
    return _of(operation, device_type, "failed")


def tried(operation: str, device_type: str) -> set[str]:
    """Backends of which the file says something, but that they were not here."""
    return {name for kind in ("seconds", "failed", "refused") for name in _of(operation, device_type, kind)}


def use(device_type: str, found: dict[str, Any] | None) -> None:
    """Times for the rest of this process, in place of the file's; None: those of the file again."""
    if found is None:
        _in_memory.pop(device_type, None)
    else:
        _in_memory[device_type] = found
    times.cache_clear()


def write(device_type: str, found: dict[str, Any], *, keep_earlier: bool = False) -> Path:
    """Keeps a record for later runs; returns the file.

    Args:
        keep_earlier: of two runs that measured at once, the first is right; its times are then those of the file.

    Raises:
        OSError: the file cannot be written.
    """
    path, name = file(), device_name(device_type)
    name = f"{name}; {found['run']}" if found.get("run") else name
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        known = _kept()
        earlier = known.pop(name, None)
        if not (keep_earlier and isinstance(earlier, dict) and _says_as_much(earlier, found)):
            write_json(path, {**known, name: found}, indent=1)  # the latest is the last
    use(device_type, None)
    return path


def _kept() -> dict[str, Any]:
    """What is in the file; nothing where it cannot be read."""
    try:
        known = json.loads(file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _counts(found: Any) -> bool:
    """Whether a record is one of these versions."""
    return isinstance(found, dict) and found.get("versions") == versions() and bool(found.get("seconds"))


def _says_as_much(earlier: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether an earlier record speaks, for the same versions, of all that a new one speaks of."""

    def named(of: dict[str, Any]) -> set[tuple[str, str]]:
        kinds = ("seconds", "failed", "refused")
        return {(op, name) for kind in kinds for op, results in of.get(kind, {}).items() for name in results}

    return earlier.get("versions") == found["versions"] and named(found) <= named(earlier)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two processes of one machine write one after the other; where files cannot be locked, as they come."""
    with open(path.with_name(f"{path.name}.lock"), "a", encoding="utf-8") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _of(operation: str, device_type: str, kind: str) -> dict[str, Any]:
    found = times(device_type)
    return {} if found is None else found.get(kind, {}).get(operation, {})
