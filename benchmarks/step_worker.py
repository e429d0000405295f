"""A process that holds one contender, so that neither its memory nor its compiler's state meets another's.

The parent sends commands through a pipe and gets one answer each: :class:`Worker` is its side, :func:`serve` the other.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from step_contender import Setting, Step
from step_ours import OURS
from step_peers import PEERS
from step_profile import shares_of

# The first peers, ours, the other peers: where time is short, what matters most has been timed.
CONTENDERS = {contender.name: contender for contender in [*PEERS[:2], *OURS[:3], *PEERS[2:], *OURS[3:]]}
WARM_UP = {"cpu": 2, "cuda": 6}  # steps before anything is measured; on a GPU a graph is captured in them
OUT_OF_MEMORY = "out of memory"
OUT_OF_TIME = "out of time"


class Worker:
    """The parent's side. What went wrong comes back as text, also the death of the process.

    Args:
        sizes: micro-batches to try, in this order.
        deadline: of every answer, by the monotonic clock.
    """

    def __init__(self, contender: str, setting: Setting, sizes: list[int], deadline: float | None = None) -> None:
        self._deadline = deadline
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, contender, setting, sizes), daemon=True)
        self._process.start()
        theirs.close()
        self.error = ""
        self.micro_batch_size = 0

    def await_start(self) -> None:
        """Until the contender is warm; sets ``micro_batch_size``."""
        started = self._answer()
        if not self.error:
            self.micro_batch_size = started
            self.error = "" if started else OUT_OF_MEMORY

    def ask(self, command: str, *arguments: Any) -> Any:
        """The answer, or None once there is an error."""
        if self.error:
            return None
        self._pipe.send((command, *arguments))
        return self._answer()

    def close(self) -> None:
        """Ends the process and frees its memory; one that does not end by itself is busy out of time."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _answer(self) -> Any:
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
        try:
            if not self._pipe.poll(left):
                self.error = OUT_OF_TIME
                return None
            answer, self.error = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            self.error = f"its process ended with status {self._process.exitcode}"
            return None
        return answer


def serve(pipe: Connection, name: str, setting: Setting, sizes: list[int]) -> None:
    """The worker's side: the largest micro-batch that fits, then commands."""
    memory = Memory(setting.device)
    step: Step | None = None
    try:
        CONTENDERS[name].load(setting)
        step, size = largest_that_fits(CONTENDERS[name].build, setting, sizes, memory)
        pipe.send((size, ""))
        while step is not None:
            command, *arguments = pipe.recv()
            if command == "time":
                pipe.send((seconds_per_step(step, *arguments, setting.device), ""))
            elif command == "memory":
                pipe.send((memory.peak(), ""))
            elif command == "profile":
                pipe.send((shares_of(step, setting.device), ""))
    except EOFError:
        return
    except Exception as error:
        reason = OUT_OF_MEMORY if out_of_memory(error) else f"{type(error).__name__}: {error}".splitlines()[0]
        pipe.send((None, reason))


def largest_that_fits(build: Any, setting: Setting, sizes: list[int], memory: Memory) -> tuple[Step | None, int]:
    """(The warmed-up step, its micro-batch) of the first of ``sizes`` that does not run out of memory; (None, 0)."""
    for size in sizes:
        memory.start()
        step = attempt(build, setting.of_micro_batch(size))
        if step is not None:
            return step, size
        # Not in an except clause: its traceback would keep the model alive.
        gc.collect()
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()
        if setting.device == "cuda":
            torch.cuda.empty_cache()
    return None, 0


def attempt(build: Any, setting: Setting) -> Step | None:
    """A step that has run; None when memory ran out."""
    try:
        step: Step = build(setting)
        for _ in range(WARM_UP[setting.device]):
            step()
        synchronize(setting.device)
        return step
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None


def out_of_memory(error: BaseException) -> bool:
    """Torch's allocators, CPU's and GPU's, and the libraries that have their own."""
    texts = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION")
    return isinstance(error, MemoryError) or any(text in str(error) for text in texts)


def seconds_per_step(step: Step, steps: int, device: str) -> float:
    """Mean over some steps in a row, from an idle device to an idle device."""
    synchronize(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(device)
    return (time.perf_counter() - started) / steps


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Memory:
    """Peak of tensors on a GPU; on a CPU the peak of the process above what it held before the model was built."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.before = 0

    def start(self) -> None:
        """Before a model is built."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            self.before = high_water_mark()

    def peak(self) -> int:
        """Bytes since :meth:`start`."""
        return torch.cuda.max_memory_allocated() if self.device == "cuda" else high_water_mark() - self.before


def high_water_mark() -> int:
    """Largest resident size of this process so far, in bytes; ru_maxrss would include the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
