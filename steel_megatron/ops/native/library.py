"""Finds the compiled kernels and calls them with tensors.

The CPU kernels are the Python module ``steel_megatron._ops``; the CUDA kernels a shared library beside it,
``_ops_cuda.so``. The kernel of an operation has the same name and parameters in both, but for the last: the number of
threads, or the stream. csrc/ops/declarations.h is the list of all, and both libraries tell it themselves.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from steel_megatron.ops.native import signatures
from steel_megatron.ops.native.signatures import Argument, Kind, Signature

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


class CudaLibrary:
    """A shared library of CUDA kernels, and what it tells of itself.

    ``architectures``: what it was compiled for, as "8.0 9.0+PTX"; ``runtime``: its CUDA, 1000 * major + 10 * minor.
    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self.signatures = signatures.parse(self._text("kernel_signatures"))
        self.architectures = self._text("cuda_architectures")
        self.runtime = int(self._library.cuda_runtime())
        for signature in self.signatures.values():
            launcher = getattr(self._library, signature.name)
            launcher.argtypes = [*(_C_TYPES[kind] for kind, _ in signature.parameters), ctypes.c_void_p]
            launcher.restype = ctypes.c_int

    def _text(self, function: str) -> str:
        tell = getattr(self._library, function)
        tell.restype = ctypes.c_char_p
        return str(tell().decode())

    def launch(self, name: str, values: list[int | float], device: torch.device) -> int:
        """Queues a kernel on the device's current stream; its error code, 0 for none."""
        with torch.cuda.device(device):
            return self.launch_on(torch.cuda.current_stream().cuda_stream, name, values)

    def launch_on(self, stream: int, name: str, values: list[int | float]) -> int:
        """The same on the stream with this address."""
        return int(getattr(self._library, name)(*values, stream))


_C_TYPES = {Kind.POINTER: ctypes.c_void_p, Kind.INTEGER: ctypes.c_int64, Kind.DOUBLE: ctypes.c_double}


@functools.cache
def cuda_library() -> CudaLibrary | None:
    """The CUDA kernels; None where they were not built."""
    return CudaLibrary(CUDA_LIBRARY) if CUDA_LIBRARY.exists() else None


def kind(device: torch.device) -> str:
    """Which kernels run on a device: "cpu" or "cuda"."""
    return device.type


def built(device_type: str) -> bool:
    """Whether this installation has kernels for a kind of device."""
    return {"cpu": cpu_module, "cuda": cuda_library}.get(device_type, lambda: None)() is not None


def fits(*tensors: Tensor | None) -> bool:
    """Whether kernels take these tensors: one floating type that they know, one device."""
    given = [tensor for tensor in tensors if tensor is not None]
    first = given[0]
    return first.dtype in DTYPES and all(t.dtype == first.dtype and t.device == first.device for t in given)


def call(name: str, like: Tensor, *arguments: Argument) -> None:
    """Runs a kernel in the type and on the device of ``like``; None is a null pointer.

    Raises:
        TypeError: the arguments are not those of the kernel.
        ValueError: a tensor is not contiguous, or not where ``like`` is.
        RuntimeError: the kernel was refused by the device.
    """
    for argument in arguments:
        if isinstance(argument, Tensor) and not (argument.is_contiguous() and argument.device == like.device):
            raise ValueError(f"{name}: a tensor is not contiguous on {like.device}: {tuple(argument.shape)}")
    given = (DTYPES[like.dtype], *arguments)
    if kind(like.device) == "cpu":
        module = cpu_module()
        assert module is not None, "checked by the policy in backends.py"
        getattr(module, name)(*_cpu_signatures()[name].values(given), torch.get_num_threads())
        return
    library = cuda_library()
    assert library is not None, "checked by the policy in backends.py"
    status = library.launch(name, library.signatures[name].values(given), like.device)
    if status:
        raise RuntimeError(f"{name} on {like.device}: CUDA error {status} for {tuple(like.shape)} {like.dtype}")


@functools.cache
def _cpu_signatures() -> dict[str, Signature]:
    from steel_megatron import _ops

    return signatures.parse(_ops.SIGNATURES)
