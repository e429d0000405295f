"""Finds the compiled kernels and calls them with tensors.

The CPU kernels are the Python module ``steel_megatron._ops``; the CUDA kernels a shared library beside it,
``_ops_cuda.so``. All take raw pointers, 64-bit integers and doubles, and the kernel of an operation has the same name
and arguments in both, but for the last: the number of threads, or the stream.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
CUDA_LIBRARY = Path(__file__).parents[2] / "_ops_cuda.so"


@functools.cache
def cpu_module() -> ModuleType | None:
    """The CPU kernels for the chosen instruction set; None where they were not built.

    Raises:
        ImportError: they were built, but do not load: another machine's, or ``STEEL_CPU_CAPABILITY`` names no set.
    """
    try:
        module = importlib.import_module("steel_megatron._ops")
    except ModuleNotFoundError:
        return None
    best: ModuleType = module.best
    return best


@functools.cache
def cuda_library() -> ctypes.CDLL | None:
    """The CUDA kernels; None where they were not built."""
    return ctypes.CDLL(str(CUDA_LIBRARY)) if CUDA_LIBRARY.exists() else None


def built(device_type: str) -> bool:
    """Whether this installation has kernels for a kind of device."""
    return {"cpu": cpu_module, "cuda": cuda_library}.get(device_type, lambda: None)() is not None


def fits(*tensors: Tensor | None) -> bool:
    """Whether kernels take these tensors: one floating type that they know, one device."""
    given = [tensor for tensor in tensors if tensor is not None]
    first = given[0]
    return first.dtype in DTYPES and all(t.dtype == first.dtype and t.device == first.device for t in given)


def call(name: str, like: Tensor, *arguments: Tensor | int | float | None) -> None:
    """Runs a kernel in the type and on the device of ``like``; None is a null pointer.

    Raises:
        ValueError: a tensor is not contiguous, or not where ``like`` is.
        RuntimeError: the kernel was refused by the device.
    """
    for argument in arguments:
        if isinstance(argument, Tensor) and not (argument.is_contiguous() and argument.device == like.device):
            raise ValueError(f"{name}: a tensor is not contiguous on {like.device}: {tuple(argument.shape)}")
    if like.device.type == "cpu":
        module = cpu_module()
        assert module is not None, "checked by the policy in backends.py"
        values = [
            a.data_ptr() if isinstance(a, Tensor) else 0 if a is None else a for a in (DTYPES[like.dtype], *arguments)
        ]
        getattr(module, name)(*values, torch.get_num_threads())
        return
    library = cuda_library()
    assert library is not None, "checked by the policy in backends.py"
    with torch.cuda.device(like.device):
        stream = torch.cuda.current_stream().cuda_stream
        passed = [_c_value(a) for a in (DTYPES[like.dtype], *arguments)]
        status = getattr(library, name)(*passed, ctypes.c_void_p(stream))
    if status:
        raise RuntimeError(f"{name} on {like.device}: CUDA error {status} for {tuple(like.shape)} {like.dtype}")


def no_result(*arguments: object) -> None:
    """The fake of an operation that returns nothing: what it writes has its shape."""


def _c_value(argument: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_double:
    if argument is None or isinstance(argument, Tensor):
        return ctypes.c_void_p(None if argument is None else argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_double(argument)
