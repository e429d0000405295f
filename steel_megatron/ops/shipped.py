"""CPU times that come with the package: by instruction set, what ``auto`` goes by where nothing was measured.

docs/backends.md says where and how they were taken.
"""

from __future__ import annotations

import importlib
import platform

# Torch's time as a multiple of ours, forward and backward, both held to the instruction set. bf16.
SPEEDS: dict[str, dict[str, float]] = {
    "base": {
        "rms_norm": 4.4,
        "layer_norm": 3.3,
        "rope": 4.3,
        "activation": 3.1,
        "cross_entropy": 1.3,
        "embedding_gradient": 3.1,
        "adamw": 2.7,
        "gradient_norm": 1.0,
        "attention": 1.8,
        "packed_attention": 2.0,
    },
    "avx2": {
        "rms_norm": 2.7,
        "layer_norm": 0.96,
        "rope": 3.1,
        "activation": 1.9,
        "cross_entropy": 1.7,
        "embedding_gradient": 2.7,
        "adamw": 1.2,
        "gradient_norm": 0.8,
        "attention": 2.0,
        "packed_attention": 2.0,
    },
    "avx512": {
        "rms_norm": 2.9,
        "layer_norm": 0.93,
        "rope": 3.6,
        "activation": 2.3,
        "cross_entropy": 1.9,
        "embedding_gradient": 2.8,
        "adamw": 1.2,
        "gradient_norm": 0.94,
        "attention": 2.7,
        "packed_attention": 2.3,
    },
    "avx512_bf16": {
        "rms_norm": 3.0,
        "layer_norm": 0.78,
        "rope": 2.9,
        "qk_norm_rope": 1.6,
        "activation": 2.2,
        "cross_entropy": 2.3,
        "embedding_gradient": 2.6,
        "adamw": 1.2,
        "gradient_norm": 0.91,
        "attention": 1.7,
        "packed_attention": 2.6,
    },
}
NOISE = 1.1  # below it the two count as equally fast, and ours is taken
# In a block ours also adds the residual and, backward, its gradient, which torch's leaves to passes of their own.
ADDS_RESIDUAL = ("rms_norm", "layer_norm")


def instruction_set() -> str:
    """That of our CPU kernels here: base, avx2, avx512 or avx512_bf16; on another architecture its name."""
    machine = platform.machine().lower()
    if machine not in ("x86_64", "amd64"):
        return machine
    try:
        return str(importlib.import_module("steel_megatron._ops").instruction_set)
    except ImportError:
        return "base"


def speed(operation: str) -> float | None:
    """How many times as fast as torch's ours was on this machine's instruction set; None: nobody knows."""
    return SPEEDS.get(instruction_set(), {}).get(operation)


def reason(operation: str) -> str:
    """Why ``auto`` takes ours, or torch's, where nothing was measured on this machine."""
    known, here = speed(operation), instruction_set()
    if known is None:
        return f"not timed on {here}, `steel doctor --measure` does that"
    if known * NOISE < 1.0 and operation in ADDS_RESIDUAL:
        return f"{known:.2g} × as fast as torch's on {here}, by shipped times, but it adds the residual as well"
    if known * NOISE < 1.0:
        return f"torch's was {1 / known:.2g} × as fast as ours on {here}, by shipped times"
    if known < NOISE:
        return f"as fast as torch's on {here}, by shipped times"
    return f"{known:.2g} × as fast as torch's on {here}, by shipped times"


def ours_is_slower(operation: str) -> bool:
    """Whether torch's was faster on this machine's instruction set, by more than noise."""
    known = speed(operation)
    return known is not None and known * NOISE < 1.0 and operation not in ADDS_RESIDUAL
