"""Compiles CUDA sources for the emulator; what was compiled is kept by a hash of all that goes into it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from helpers.cuda_emulator.rewrite import rewrite

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
OPS = ROOT / "csrc" / "ops"
HEADERS = ("cuda_runtime.h", "cuda_bf16.h", "cuda_fp8.h")
# The toolkit's headers warn; what is to be said of the kernels nvcc says in CI.
FLAGS = ("-std=c++17", "-O1", "-g1", "-fPIC", "-fno-strict-aliasing", "-w")


@dataclass(frozen=True)
class Variant:
    """A way to compile: flags of device code, of the emulator itself, and of the linker."""

    device: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    link: tuple[str, ...] = ()


VARIANTS = {
    # Alignment of every access and indices of arrays are checked by the emulator itself.
    "checked": Variant(("-fsanitize=alignment,bounds",), ("-DEMULATOR_CHECKS",)),
    # Races of threads and blocks: ThreadSanitizer's instrumentation, answered by races.cpp.
    "races": Variant(("-fsanitize=thread",), ("-DEMULATOR_RACES",)),
    # The sanitizers' own libraries, which have to be loaded before Python: see preloaded().
    "address": Variant(*[("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")] * 3),
}


def toolkit() -> Path | None:
    """The folder of the CUDA headers: of an installed toolkit, or of the nvidia-cuda-* packages; None without them."""
    nvcc = shutil.which("nvcc")
    folders = [Path(os.environ[name]) / "include" for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    folders += [] if nvcc is None else [Path(nvcc).resolve().parents[1] / "include"]
    folders += [Path("/usr/local/cuda/include")]
    found = importlib.util.find_spec("nvidia")
    for place in [] if found is None else found.submodule_search_locations or ():
        folders += sorted(Path(place).glob("cu*/include"))
    return next((folder for folder in folders if all((folder / name).exists() for name in HEADERS)), None)


def why_not() -> str | None:
    """Why nothing can be emulated here; None if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the emulator switches stacks in the assembly of Linux on x86-64"
    if shutil.which("g++") is None:
        return "g++ was not found"
    if toolkit() is None:
        return "no CUDA headers: pip install nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl"
    return None


def preloaded() -> str:
    """What ``LD_PRELOAD`` has to hold for the variant "address": the sanitizers' libraries come before all others."""
    return " ".join(str(path.resolve()) for path in _sanitizer_libraries())


def why_no_sanitizers() -> str | None:
    """Why the variant "address" cannot run here; None if it can."""
    missing = [path.name for path in _sanitizer_libraries() if not path.exists()] if why_not() is None else []
    return why_not() or (f"g++ has no {', '.join(missing)}" if missing else None)


def _sanitizer_libraries() -> list[Path]:
    return [Path(_told(f"-print-file-name={name}.so")) for name in ("libasan", "libubsan")]


def _told(question: str) -> str:
    return subprocess.run(["g++", question], capture_output=True, text=True, check=True).stdout.strip()


def build(variant: str = "checked", sources: Sequence[Path] | None = None) -> Path:
    """The shared library of the emulator and of CUDA sources, those of the package if none are named.

    Several processes may ask at once: one compiles, the others wait for it.

    Raises:
        RuntimeError: g++ refused a source; its messages.
    """
    sources = sorted(OPS.glob("cuda/*.cu")) if sources is None else sources
    chosen = VARIANTS[variant]
    folder = ROOT / "build" / "cuda_emulator" / f"{variant}_{_digest(variant, sources)}"
    library = folder / "kernels.so"
    with _locked(folder.with_suffix(".lock")):
        if library.exists():
            return library
        _write_rewritten(folder, sources)
        as_device_code = ("-x", "c++", "-include", str(HERE / "device.h"), *chosen.device)
        jobs = [(folder / source.name, as_device_code) for source in sources]
        jobs += [(path, ("-O2", *chosen.emulator)) for path in sorted(HERE.glob("*.cpp"))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda job: _compiled(folder, *job), jobs))
        unfinished = library.with_suffix(".unfinished")
        _run(["g++", "-shared", *chosen.link, *map(str, objects), "-o", str(unfinished)])
        unfinished.rename(library)
    return library


def _digest(variant: str, sources: Sequence[Path]) -> str:
    content = hashlib.sha256(repr((_told("--version"), FLAGS, VARIANTS[variant], str(toolkit()))).encode())
    headers = [*OPS.glob("*.h"), *OPS.glob("cuda/*.cuh")]
    own = [path for path in HERE.iterdir() if path.suffix in (".h", ".cpp", ".py")]
    for path in sorted({*sources, *headers, *own}):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()[:16]


def _write_rewritten(folder: Path, sources: Sequence[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*sources, *OPS.glob("cuda/*.cuh")]:
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        (folder / path.name).write_text(rewrite(path.read_text(encoding="utf-8"), str(shown)), encoding="utf-8")


def _compiled(folder: Path, source: Path, flags: tuple[str, ...]) -> Path:
    target = folder / f"{source.name}.o"
    includes = [f"-I{HERE}", f"-I{folder}", f"-I{OPS}", f"-isystem{toolkit()}"]
    _run(["g++", *FLAGS, *includes, *flags, "-c", str(source), "-o", str(target)])
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[:4000]}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
