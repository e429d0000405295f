"""Whether the compiled CUDA kernels run on this machine's card and driver: asked before the first launch."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path

import torch

from steel_megatron.ops.native import library

BUILD_RECORD = Path(__file__).parents[2] / "build_info.json"


def why_not(device_type: str) -> str | None:
    """None if the compiled kernels for a kind of device were built and serve what is here; else why not.

    Where no GPU is in sight, the answer is for one that they serve.
    """
    if not library.built(device_type):
        return f"compiled kernels for {device_type} were not built{_why_not_built(device_type)}"
    found = library.cuda_library() if device_type == "cuda" and torch.cuda.is_available() else None
    if found is None:
        return None
    capability = torch.cuda.get_device_capability()
    return why_not_card(capability, found.architectures) or why_not_driver(_driver(), found.runtime)


def why_not_card(capability: tuple[int, int], architectures: str) -> str | None:
    """Why kernels that were compiled for these architectures do not run on a card; None if they do, or if unknown.

    Code of a capability runs on later ones of the same major number, PTX on all later ones; names with a letter are
    for that capability alone.

    Args:
        architectures: as ``csrc/ops/cuda/built_for.cu`` tells: "8.0 9.0+PTX".
    """
    for name in architectures.split():
        found = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", name)
        if found is None:
            continue
        least = int(found[1]), int(found[2])
        if least == capability or (not found[3] and least < capability and (found[4] or least[0] == capability[0])):
            return None
    if not architectures:
        return None
    return (
        f"the compiled kernels are for compute capability {architectures.replace(' ', ', ')}, "
        f"and this card has {capability[0]}.{capability[1]}"
    )


def why_not_driver(driver: int, runtime: int) -> str | None:
    """Why a driver does not run kernels that hold this CUDA runtime (1000 * major + 10 * minor; 0: unknown)."""
    if not driver or not runtime or driver // 1000 >= runtime // 1000:
        return None
    return f"the compiled kernels need a driver for CUDA {runtime // 1000}, and this one is for {driver // 1000}"


def _driver() -> int:
    """The newest CUDA that the driver runs; 0 if it cannot be asked."""
    version = ctypes.c_int(0)
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def _why_not_built(device_type: str) -> str:
    part = {"cpu": "_ops", "cuda": "cuda kernels"}.get(device_type, "")
    try:
        said = json.loads(BUILD_RECORD.read_text(encoding="utf-8")).get(part, "")
    except (OSError, ValueError):
        return ""
    return f" ({said.removeprefix('not built: ')})" if said.startswith("not built: ") else ""
