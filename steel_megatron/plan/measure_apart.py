"""Measures in a process of its own: a kernel that breaks the device, hangs or ends the process costs that kernel only.

The process prints a line of JSON before it tries an implementation, and one with the outcome. If it ends without an
outcome, the implementation that it had begun has failed, and another process goes on without it.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

import torch

from steel_megatron.plan.measure import Shape, Timing, measure, record_of, worth_trying

SECONDS = 0.05  # that each implementation is timed
LIMIT = 120.0  # seconds for one implementation; torch.compile and card-side compilers included
TRIES = 8  # processes
# With these variables a process of torchrun would be taken for one of the run.
OF_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


class MeasuringError(RuntimeError):
    """Nothing could be measured."""


def measure_apart(device: torch.device, shape: Shape, limit: float = LIMIT) -> dict[str, Any]:
    """A record for :mod:`steel_megatron.ops.measured` of what is here.

    Raises:
        MeasuringError: a process ended before it tried anything.
    """
    timings: list[Timing] = []
    for _ in range(TRIES):
        done = [(timing.operation, timing.backend) for timing in timings]
        found, begun, end = _one_process(device, shape, done, limit)
        timings += found
        if not end:
            return record_of(timings, shape)
        if begun is None:
            raise MeasuringError(end)
        timings.append(Timing(*begun, failed=end))
    raise MeasuringError(f"{TRIES} implementations ended their process")


def _one_process(
    device: torch.device, shape: Shape, done: list[tuple[str, str]], limit: float
) -> tuple[list[Timing], tuple[str, str] | None, str]:
    """(Outcomes, what was begun and came to nothing, how the process ended: "" if it tried everything)."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_TORCHRUN}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(device), json.dumps(done), shape.packed()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    lines: queue.Queue[str | None] = queue.Queue()
    errors: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True),
        threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True),
    ]
    for reader in readers:
        reader.start()
    found: list[Timing] = []
    begun: tuple[str, str] | None = None
    try:
        while True:
            line = lines.get(timeout=limit)
            if line is None:
                break
            said = json.loads(line)
            begun = tuple(said["begin"]) if "begin" in said else None
            if "outcome" in said:
                found.append(Timing(**said["outcome"]))
            if "end" in said:
                return found, None, ""
    except queue.Empty:
        return found, begun, f"it did not end in {limit:.0f} seconds"
    finally:
        process.kill()
        process.wait()
    for reader in readers:
        reader.join(timeout=5)
    last = errors[-1].strip() if errors else ""
    return found, begun, f"it ended the process ({last or f'status {process.returncode}'})"


def _pass_on(stream: Any, lines: queue.Queue[str | None]) -> None:
    """Lines that are ours; a library may print to the same place."""
    for line in stream:
        if line.startswith('{"steel": '):
            lines.put(json.dumps(json.loads(line)["steel"]))
    lines.put(None)


def main(device_name: str, done: str, packed: str) -> None:
    """What runs in the process of its own."""
    device, known = torch.device(device_name), {tuple(name) for name in json.loads(done)}
    if device.type == "cuda":
        torch.cuda.set_device(device)
    worth = worth_trying(device.type)

    def wanted(operation: str, backend: str) -> bool:
        if (operation, backend) in known or not worth(operation, backend):
            return False
        _say(begin=(operation, backend))
        return True

    for timing in measure(Shape.unpacked(packed), device, SECONDS, wanted):
        if timing.failed and device.type == "cuda":
            _end_if_broken(device)
        if not timing.missing and (timing.operation, timing.backend) not in known:
            _say(outcome=asdict(timing))
    _say(end=True)


def _end_if_broken(device: torch.device) -> None:
    """After some errors nothing runs on the device any more in this process."""
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        print(str(error).splitlines()[0], file=sys.stderr, flush=True)
        os._exit(1)


def _say(**what: Any) -> None:
    print(json.dumps({"steel": what}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
