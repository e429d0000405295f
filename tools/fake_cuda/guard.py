"""Builds ``guard.cpp`` against the headers of the torch that is installed, and loads it before torch is imported."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.cpp")
CACHE_VARIABLE = "STEEL_FAKE_CUDA_CACHE"  # names another folder for what was built

_loaded: ctypes.CDLL | None = None


class GuardError(RuntimeError):
    """The guard cannot be built or loaded here; the message says why and what would help."""


def load() -> Path:
    """Loads the guard, building it if need be; the library's path. Once per process, before torch is imported.

    Raises:
        GuardError: torch is there already, is no CPU build, or the compiler fails.
    """
    if "torch" in sys.modules:
        raise GuardError("torch is imported already: the fake device has to be there first, in a process of its own")
    library = build()
    global _loaded
    _loaded = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    import torch

    if torch.version.cuda is not None:
        raise GuardError(f"torch {torch.__version__} has CUDA of its own: the fake device needs a CPU build")
    return library


def set_capability(major: int) -> None:
    """The major compute capability by which torch's C++ chooses its attention kernel."""
    if _loaded is None:
        raise GuardError("the fake device is not loaded: call load() before torch is imported")
    _loaded.fake_cuda_set_capability(major)


def build() -> Path:
    """The library for this source, torch and compiler, from the cache where it has been built before."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise GuardError("torch is not installed")
    torch, compiler = Path(found.origin).parent, shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise GuardError("no C++ compiler: install g++, or name one with CXX")
    facts = f"{importlib.metadata.version('torch')} {torch} {compiler}".encode()
    name = f"guard_{hashlib.sha256(SOURCE.read_bytes() + facts).hexdigest()[:16]}.so"
    library = cache_folder() / name
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    part = library.with_suffix(f".{os.getpid()}")
    command = [compiler, "-std=c++20", "-O1", "-fPIC", "-shared", str(SOURCE), "-o", str(part)]
    command += [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    command += [f"-L{torch / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch / 'lib'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GuardError(f"{compiler} does not compile {SOURCE.name}:\n{done.stderr[-2000:]}")
    os.replace(part, library)
    return library


def cache_folder() -> Path:
    """Where built libraries are kept."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir()) / f"steel_fake_cuda_{os.getuid()}"
