"""How large a checkpoint is, and how long a save takes."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from steel_megatron.checkpoint.files import record_of, write_bytes
from steel_megatron.config import ConfigError, ParallelConfig, RunConfig
from steel_megatron.plan.memory import estimate_memory

GB = 1e9
MEASURED_BYTES = 256 << 20


def checkpoint_bytes(config: RunConfig) -> float:
    """Weights, masters and moments of the whole model, which is what the ranks write together on any layout."""
    memory = estimate_memory(replace(config, parallel=ParallelConfig()), 1)
    return memory.weights + memory.masters + memory.moments


def write_speed(folder: Path) -> float:
    """Bytes per second of one process that writes a file as a save does: fsync, then a hash. Removes it.

    Raises:
        ConfigError: the folder is not there or cannot be written to.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".steel_plan_", dir=folder) as place:
            path, content = Path(place) / "bytes", os.urandom(MEASURED_BYTES)
            started = time.perf_counter()
            write_bytes(path, content)
            record_of(path)
            return MEASURED_BYTES / (time.perf_counter() - started)
    except OSError as error:
        raise ConfigError(
            f"--save {folder}: {error.strerror or error}", fix="name a folder on the disk that the run saves to"
        ) from error


def saving_line(config: RunConfig, speed: float, how: str) -> str:
    """The line of the report; ``speed`` in bytes per second, ``how`` it is known."""
    size = checkpoint_bytes(config)
    seconds = size / speed
    line = f"a checkpoint is {size / GB:.2f} GB; a save takes about {_time(seconds)} at {speed / GB:.2g} GB/s ({how})"
    minutes = config.checkpoint.save_interval_in_mins
    if minutes:
        line += f", {seconds / (minutes * 60 + seconds):.1%} of the time with --save-interval-in-mins {minutes:g}"
    return line


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
