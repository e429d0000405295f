"""How functions of this folder are compiled, and whether they can be."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from steel_megatron.ops.constants import mark_constants
from steel_megatron.ops.packages import why_no_gpu, why_not_importable

P = ParamSpec("P")
R = TypeVar("R")


def fused(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function of tensors when it is first called: for its shapes, and once more for any number of rows.

    Not autotuned: another choice of blocks would add in another order, and a run would not continue with the same bits.
    Where torch refuses to compile it for yet another shape it runs as it is written.
    """

    @functools.cache
    def compiled() -> Callable[P, R]:
        mark_constants()
        return torch.compile(function, options={"deterministic": True})

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # Gradients are the business of the operation around it: nothing is recorded, and views can be written to.
        plain = [arg.detach() if isinstance(arg, Tensor) else arg for arg in args]
        with torch.no_grad():
            return compiled()(*plain, **kwargs)  # type: ignore[arg-type]

    return run


def why_not(device_type: str) -> str | None:
    """None if torch.compile builds code for a kind of device here; else what it lacks."""
    if device_type == "cuda":
        missing = why_no_gpu(device_type, least=(7, 0)) or why_not_importable("triton", functions=("jit",))
        if missing:
            return missing
        found = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        return None if found else "triton needs a C compiler, and there is none"
    found = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    return None if found else "torch.compile needs a C++ compiler, and there is none"
