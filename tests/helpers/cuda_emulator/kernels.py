"""The package's CUDA kernels, emulated, in the place of those for CPUs."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.cuda_emulator.build import build
from steel_megatron.ops import available, backends
from steel_megatron.ops.native import library

# Which variant of build.py tests run.
VARIANT = os.environ.get("STEEL_EMULATOR", "checked")


class EmulatorError(Exception):
    """A kernel did what would be wrong or undefined on a GPU: kernel, what, line, block, thread."""


class EmulatedLibrary(library.CudaLibrary):
    """Launches run in another order of threads and blocks each time: in order, backwards, then shuffled."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.seeds: Iterator[int] = itertools.count()
        self.launched: set[str] = set()

    def launch(self, name: str, values: list[int | float], device: torch.device) -> int:
        self._library.emulator_seed(ctypes.c_ulong(next(self.seeds)))
        self.launched.add(name)
        status = self.launch_on(0, name, values)
        failure = self._text("emulator_failure")
        if failure:
            raise EmulatorError(failure)
        return status


def kernels() -> EmulatedLibrary:
    """All CUDA kernels, compiled at the first call; what does not compile is compiled once, and fails every time."""
    found = _kernels()
    if isinstance(found, RuntimeError):
        raise found
    return found


@functools.cache
def _kernels() -> EmulatedLibrary | RuntimeError:
    try:
        return EmulatedLibrary(build(VARIANT))
    except RuntimeError as error:
        return error


@contextlib.contextmanager
def emulated() -> Iterator[EmulatedLibrary]:
    """Operations on CPU tensors run the CUDA kernels; torch.empty gives NaN and the largest integers."""
    steel_cuda = dataclasses.replace(available.BACKENDS["steel_cuda"], missing=lambda device_type: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "kind", lambda device: "cuda")
        patch.setattr(library, "cuda_library", kernels)
        patch.setitem(available.BACKENDS, "steel_cuda", steel_cuda)
        backends.forget_orders()
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield kernels()
        finally:
            torch.use_deterministic_algorithms(False)
            backends.forget_orders()
