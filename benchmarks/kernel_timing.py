"""Seconds of operations on a CPU and on a GPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch

Call = Callable[[], object]
GRAPH_SECONDS = 2e-3  # of work in one graph: long against what starting it takes


def fastest(calls: Mapping[str, Call], device: str, rounds: int) -> tuple[dict[str, float], dict[str, str]]:
    """(Seconds of each contender's fastest round, why others failed).

    Contenders take turns. On a GPU many calls are recorded in a CUDA graph, so that the device's time counts and not
    Python's; what cannot be recorded is timed as it is launched.
    """
    failed: dict[str, str] = {}
    timers: dict[str, Callable[[], float]] = {}
    for name, call in calls.items():
        try:
            for _ in range(2):
                call()
            timers[name] = gpu_timer(call) if device == "cuda" else lambda call=call: clocked(call)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    seconds = dict.fromkeys(timers, math.inf)
    for _ in range(rounds):
        for name, timer in timers.items():
            seconds[name] = min(seconds[name], timer())
    return seconds, failed


def clocked(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def gpu_timer(call: Call) -> Callable[[], float]:
    """A function that measures the device seconds of one call. The current stream is not the default one."""
    torch.cuda.synchronize()
    repeats = min(max(int(GRAPH_SECONDS / max(events_around(call), 1e-6)), 1), 50)

    def several() -> None:
        for _ in range(repeats):
            call()

    graph = torch.cuda.CUDAGraph()
    try:
        # In the stream of the forward pass: autograd runs backward there.
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            several()
    except RuntimeError:
        torch.cuda.synchronize()
        return lambda: events_around(several) / repeats
    return lambda: events_around(graph.replay) / repeats


def events_around(call: Call) -> float:
    """Device seconds."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3
