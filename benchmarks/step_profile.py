"""Where a step's time goes: one profiled step, its device time by kind of work.

On a GPU kernels are told apart by their names, and "idle" is the part of the step in which none ran. On a CPU torch's
operations are, by the time of their own, and "idle" is the rest: Python, autograd's bookkeeping, waiting, and what
torch.compile generated, which the profiler does not see.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

import torch
from step_contender import Step
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

# The first kind whose pattern occurs in the name counts; what none claims is memory-bound.
KINDS = (
    ("attention", r"flash|fmha|attention|sdpa|mha_"),
    ("optimizer", r"adam|multi_tensor_apply|lpnorm|sum_of_squares|foreach"),
    ("matmuls", r"gemm|cutlass|nvjet|xmma|wgmma|cublas|::mm$|::addmm|::bmm|linear|_scaled_mm"),
)
OTHER = "memory-bound"
KIND_NAMES = [*(kind for kind, _ in KINDS), OTHER, "idle"]


def kind_of(name: str) -> str:
    """The kind of work of a kernel or an operation, by its name."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE)), OTHER)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans: kernels of several streams may overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total


def shares_of(step: Step, device: str) -> dict[str, float]:
    """Components of one step's time by kind; they add up to 1 where kernels do not overlap."""
    cuda = device == "cuda"
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
    with profile(activities=activities) as recorded:
        started = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        whole = (time.perf_counter() - started) * 1e6
    if cuda:
        events = [event for event in recorded.events() if event.device_type == DeviceType.CUDA and not annotates(event)]
        works = [(event.name, event.time_range.elapsed_us()) for event in events]
        busy = covered((event.time_range.start, event.time_range.end) for event in events)
    else:
        works = [(row.key, row.self_cpu_time_total) for row in recorded.key_averages() if counts(row.key)]
        busy = sum(micros for _, micros in works)
    shares = dict.fromkeys(KIND_NAMES, 0.0)
    for name, micros in works:
        shares[kind_of(name)] += micros / whole
    shares["idle"] = max(1.0 - busy / whole, 0.0)
    return shares


def annotates(event: object) -> bool:
    """Whether a GPU event only marks a stretch of time, as ``Optimizer.step`` does."""
    return bool(getattr(event, "is_user_annotation", False))


def counts(name: str) -> bool:
    """Whether a CPU event is an operation, and not a frame around others (autograd's nodes, annotations)."""
    return "::" in name and not name.startswith("autograd::")


def markdown(shares: dict[str, dict[str, float]]) -> str:
    """A table, one row per contender."""
    lines = [f"| step | {' | '.join(KIND_NAMES)} |", "| --- |" + " --- |" * len(KIND_NAMES)]
    lines += [
        f"| {name} | {' | '.join(f'{found[kind]:.0%}' for kind in KIND_NAMES)} |" for name, found in shares.items()
    ]
    return "\n".join(lines) + "\n"
